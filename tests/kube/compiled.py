"""Runs a compiled pipeline of Kubeflow step by step, each step a container: Kubeflow's rules without Kubeflow."""

import json
import re
from pathlib import Path

import yaml

_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_REPORT = re.compile(r"\{\{\$\.outputs\.artifacts\['([^']+)'\]\.path\}\}")


class StepError(Exception):
    """A step's container ended with an exit code that is not 0."""


class Pipeline:
    """A compiled pipeline.

    `run(command, image, settings)` runs a container and returns its CompletedProcess; it sees the folder `root` where
    it is here. The settings are those of `kfp.kubernetes`. Steps that may be cached are: the results of earlier calls
    count.
    """

    def __init__(self, file, root, run):
        self._spec, platform = yaml.safe_load_all(Path(file).read_text(encoding="utf-8"))
        self.settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self._root, self._run = Path(root), run
        self._cache = {}
        self._count = 0

    def __call__(self, **parameters):
        """Run the pipeline; return the steps that ran, in order, each with the folder of its outputs."""
        self.ran = []
        known = self._spec["root"]["inputDefinitions"]["parameters"]
        assert parameters.keys() <= known.keys(), parameters.keys() - known.keys()
        self._dag(self._spec["root"], parameters)
        return self.ran

    def _dag(self, component, given):
        inputs = _typed(component, given)
        tasks, outputs = dict(component["dag"]["tasks"]), {}
        while tasks:
            ready = [name for name, task in tasks.items() if not _needs(task) & tasks.keys()]
            assert ready, f"a circle: {list(tasks)}"
            for name in ready:
                outputs[name] = self._task(tasks.pop(name), inputs, outputs)

    def _task(self, task, parent, outputs):
        component = self._spec["components"][task["componentRef"]["name"]]
        inputs = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            assert "parameterExpressionSelector" not in source
            if "componentInputParameter" in source:
                inputs[name] = parent[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                place = source["taskOutputParameter"]
                inputs[name] = outputs[place["producerTask"]][place["outputParameterKey"]]
            else:
                inputs[name] = source["runtimeValue"]["constant"]
        inputs = {name: _filled(value, inputs) for name, value in inputs.items()}
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition is not None and not _holds(condition, inputs):
            return {}
        if "parameterIterator" in task:
            loop = task["parameterIterator"]
            for item in inputs[loop["items"]["inputParameter"]]:
                self._dag(component, inputs | {loop["itemInput"]: item})
            return {}
        if "dag" in component:
            self._dag(component, inputs)
            return {}
        return self._step(task, component, _typed(component, inputs))

    def _step(self, task, component, inputs):
        container = self._spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        key = json.dumps([container, inputs], sort_keys=True)
        if task["cachingOptions"].get("enableCache") and key in self._cache:
            return self._cache[key]
        self._count += 1
        folder = self._root / f"{self._count:02}-{task['taskInfo']['name']}"
        # Kubeflow makes this folder, and the step runs as another user.
        folder.mkdir()
        folder.chmod(0o777)
        self.ran.append((task["taskInfo"]["name"], folder))
        kinds = component.get("outputDefinitions", {})
        told = {
            "inputs": {"parameterValues": inputs},
            "outputs": {
                "parameters": {name: {"outputFile": str(folder / name)} for name in kinds.get("parameters", {})},
                "artifacts": {
                    name: {"artifacts": [{"name": name, "type": about["artifactType"], "uri": str(folder / name)}]}
                    for name, about in kinds.get("artifacts", {}).items()
                },
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        words = [*container["command"], *container["args"]]
        words = [
            json.dumps(told) if w == "{{$}}" else _REPORT.sub(rf"{folder}/\1", str(_filled(w, inputs))) for w in words
        ]
        done = self._run(words, _filled(container["image"], inputs), self.settings[component["executorLabel"]])
        if done.returncode != 0:
            raise StepError(task["taskInfo"]["name"], done.returncode, done.stderr)
        outputs = {}
        for name, about in kinds.get("parameters", {}).items():
            text = (folder / name).read_text(encoding="utf-8")
            outputs[name] = text if about["parameterType"] == "STRING" else json.loads(text)
        self._cache[key] = outputs
        return outputs


def _typed(component, values):
    """Whole numbers come as floats out of Kubeflow's YAML, and what is not given has a default."""
    kinds = component.get("inputDefinitions", {}).get("parameters", {})
    values = {name: about["defaultValue"] for name, about in kinds.items() if "defaultValue" in about} | values
    assert kinds.keys() <= values.keys(), kinds.keys() - values.keys()
    return {k: int(v) if kinds.get(k, {}).get("parameterType") == "NUMBER_INTEGER" else v for k, v in values.items()}


def _needs(task):
    sources = task.get("inputs", {}).get("parameters", {}).values()
    producers = {s["taskOutputParameter"]["producerTask"] for s in sources if "taskOutputParameter" in s}
    return producers | set(task.get("dependentTasks", ()))


def _filled(value, inputs):
    return _INPUT.sub(lambda found: str(inputs[found[1]]), value) if isinstance(value, str) else value


def _holds(condition, inputs):
    """Evaluate a condition of the few forms that ours have."""
    found = re.fullmatch(r"(!?)\(?inputs\.parameter_values\['([^']+)'\] == (true|false)\)?", condition)
    assert found, condition
    negated, name, wanted = found.groups()
    return (inputs[name] == (wanted == "true")) != bool(negated)
