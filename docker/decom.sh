#!/bin/bash
# Spark's preStop hook: the executor, which is process 1 here, hands over what it holds, and Kubernetes waits for it.
set -euo pipefail
kill -s PWR 1
for ((second = 0; second < 60; second++)); do
    kill -0 1 2>/dev/null || break
    sleep 1
done
