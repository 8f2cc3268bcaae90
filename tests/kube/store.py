"""The objects of a small Kubernetes: who changes one, tells those who watch; who owns one, takes it along."""

import copy
import threading
import uuid


class Store:
    """Objects by kind (plural), namespace and name."""

    def __init__(self):
        self.changed = threading.Condition(threading.RLock())
        self.events = []  # (kind, type, object), numbered by resourceVersion - 1
        self._objects = {}

    def get(self, kind, namespace, name):
        with self.changed:
            return copy.deepcopy(self._objects.get((kind, namespace, name)))

    def list(self, kind, namespace, matches=lambda found: True):
        with self.changed:
            found = [o for (k, n, _), o in self._objects.items() if k == kind and n == namespace and matches(o)]
            return copy.deepcopy(found)

    def put(self, kind, namespace, found):
        """Add or replace an object, and return it as it is now."""
        with self.changed:
            meta = found["metadata"]
            meta.setdefault("name", meta.get("generateName", "") + uuid.uuid4().hex[:6])
            meta |= {"namespace": namespace, "uid": meta.get("uid") or str(uuid.uuid4())}
            meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            key = (kind, namespace, meta["name"])
            new = key not in self._objects
            self._say(kind, "ADDED" if new else "MODIFIED", found)
            # What comes when its owner has gone already is collected at once.
            owners = {reference["uid"] for reference in meta.get("ownerReferences") or ()}
            if new and owners and not any(o["metadata"]["uid"] in owners for o in self._objects.values()):
                self._say(kind, "DELETED", found)
            else:
                self._objects[key] = found
            return copy.deepcopy(found)

    def change(self, kind, namespace, name, change):
        """Change an object in place; None if it is gone."""
        with self.changed:
            found = self.get(kind, namespace, name)
            if found is None:
                return None
            change(found)
            return self.put(kind, namespace, found)

    def remove(self, kind, namespace, name):
        """Remove an object, and return the keys of those that it owned."""
        with self.changed:
            found = self._objects.pop((kind, namespace, name), None)
            if found is None:
                return []
            self._say(kind, "DELETED", found)
            uid = found["metadata"]["uid"]
            owners = {key: o["metadata"].get("ownerReferences") or () for key, o in self._objects.items()}
            return [key for key, references in owners.items() if any(r["uid"] == uid for r in references)]

    def names(self):
        with self.changed:
            return sorted(f"{kind}/{name}" for kind, _, name in self._objects)

    def _say(self, kind, what, found):
        found["metadata"]["resourceVersion"] = str(len(self.events) + 1)
        self.events.append((kind, what, copy.deepcopy(found)))
        self.changed.notify_all()


def selector(query):
    """Return the test that labelSelector and fieldSelector of a query stand for."""
    labels = [part for part in query.get("labelSelector", "").split(",") if part]
    fields = [part for part in query.get("fieldSelector", "").split(",") if part]

    def one(values, part):
        if "!=" in part:
            key, value = part.split("!=")
            return values.get(key) != value
        key, equals, value = part.replace("==", "=").partition("=")
        return values.get(key) == value if equals else key in values

    def matches(found):
        meta = found["metadata"]
        shown = {"metadata.name": meta["name"], "status.phase": found.get("status", {}).get("phase")}
        return all(one(meta.get("labels") or {}, part) for part in labels) and all(one(shown, p) for p in fields)

    return matches


def merge(target, patch):
    """Apply a JSON merge patch (RFC 7386); good enough for the applies that Spark does."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def json_patch(target, operations):
    """Apply a JSON patch (RFC 6902) of add, replace and remove."""
    for operation in operations:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = target
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if isinstance(place, list):
            last = len(place) if last == "-" else int(last)
        if operation["op"] == "remove":
            del place[last]
        elif operation["op"] == "add" and isinstance(place, list):
            place.insert(last, operation["value"])
        else:
            place[last] = operation["value"]
