# `make demo` and `make test` need Python 3.10+, a JDK 17+ and make; everything else is fetched into this folder.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
WHEEL := dist/ctmahout-$(VERSION)-py3-none-any.whl
JARS := python/ctmahout/jars/ctmahout-spark3.5_2.12-$(VERSION).jar python/ctmahout/jars/ctmahout-spark4_2.13-$(VERSION).jar

# One environment for each Spark line, both with the built wheel: what ships is what is tested.
SPARK4 := .venv-spark4
SPARK35 := .venv-spark35
BUILD := .venv-build
# Installs a hundred packages in seconds where pip takes minutes. It reads no pip.conf: behind a mirror, set UV_DEFAULT_INDEX.
UV := $(BUILD)/bin/uv
RIVALS := .venv-bench
PYLINAC := .venv-pylinac
KFP := .venv-kfp
# A store to test with; not beside the others, which would get an older dateutil by it than users get.
MOTO := .venv-moto
S3A := $(SPARK4)/s3a
CONNECT := .venv-connect
RELEASE := .venv-release
CONNECT35 := $(SPARK35)/connect
DELTA := $(SPARK35)/delta
# What a client of Spark Connect needs there: the extra "connect" of pyspark 3.5 itself wants an old numpy.
CLIENT35 := grpcio grpcio-status googleapis-common-protos "pandas<3" setuptools

# The time of every file in an archive: that of the commit. The documentation of the JVM's modules takes a minute: releases have it.
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 1577836800)
SBT_OPTIONS ?= -Dctmahout.javadoc=false

JVM_SOURCES := build.sbt sbt contract/v1/errors.json $(shell find jvm project -type f -not -path '*/target/*' -not -path 'project/project/*' 2>/dev/null)
PYTHON_SOURCES := pyproject.toml README.md LICENSE NOTICE $(shell find python contract -type f -not -path '*/__pycache__/*' -not -name '*.jar')

BENCH_JARS := $(foreach scala,2.12 2.13,bench/jvm/target/scala-$(scala)/ctmahout-bench_$(scala)-$(VERSION).jar)
BENCH_SOURCES := $(shell find bench/jvm -type f -not -path '*/target/*' 2>/dev/null)

# docker or podman.
CONTAINER ?= docker
IMAGE ?= ctmahout:$(VERSION)
IMAGE_OPTIONS ?=

SCALADOC := build/scaladoc
SCALADOC_TASKS := samsaraSpark/doc; sparkbindings/doc; bridge/doc

PYTEST := -q --durations=5
# What became of awkward volumes, to be looked at.
export CTMAHOUT_TEST_PICTURES ?= $(CURDIR)/build/pictures

# Why tests were skipped, a line for each.
export SKIPPED_TESTS := $(CURDIR)/build/skipped.jsonl

# What `make test` runs, one after the other; those of them that are tests use both of two cores.
PARTS := lint test-jvm docs test-spark4 test-python test-spark35 test-cluster

.PHONY: docs help wheel jars image environments check test ci test-jvm test-spark4 test-python test-spark35 test-cluster soak test-release k8s release rehearsal sign cut compatibility demo reproduce expectation inputs fuzz lint format bench evidence pictures clean

help: ## Say what each target does
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

wheel: $(WHEEL) ## Build dist/*.whl with the jars of both Spark lines in it

jars: $(JARS) ## Build both jars

# Beside the jars of the wheel, in the same sbt, what Maven is given: a folder of it is in target/sona-staging.
$(JARS) &: $(JVM_SOURCES)
	SOURCE_DATE_EPOCH=$(EPOCH) ./sbt $(SBT_OPTIONS) "+bridge/assembly; +publish"
	mkdir -p $(dir $(firstword $(JARS)))
	rm -f python/ctmahout/jars/*.jar
	cp $$(find jvm/bridge/target -name 'ctmahout-spark*-$(VERSION).jar') python/ctmahout/jars/
	touch $(JARS)

$(BUILD)/ready:
	$(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/pip install --quiet uv
	touch $@

$(WHEEL): $(JARS) $(PYTHON_SOURCES) $(BUILD)/ready
	rm -rf dist
	SOURCE_DATE_EPOCH=$(EPOCH) $(UV) build --quiet --wheel
	test -f $@

# What the wheel depends on does not wait for the jars in it.
$(SPARK4)/packages: pyproject.toml $(BUILD)/ready
	$(call venv,$(SPARK4)) --requirements pyproject.toml --extra spark --extra test --extra lint --extra docs "pyspark>=4,<5"
	touch $@

$(SPARK35)/packages: pyproject.toml $(BUILD)/ready
	$(call venv,$(SPARK35)) --requirements pyproject.toml --extra spark --extra test $(CLIENT35) "pyspark>=3.5.1,<3.6"
	touch $@

$(SPARK4)/ready $(SPARK35)/ready: %/ready: $(WHEEL) %/packages
	$(UV) pip install --quiet --python $*/bin/python --reinstall --no-deps $(WHEEL)
	touch $@

# Dozens of tests start a Spark; each starts in two thirds of the time.
%/warm: %/ready
	$*/bin/ctmahout warm-up
	touch $@

# Fetches jars of Maven's beside the target, by the Ivy of an environment's Spark, whose Hadoop's version is in $$hadoop.
define retrieve
mkdir -p $(@D)
jars=$$($(1)/bin/python -c "import pyspark; print(pyspark.__path__[0])")/jars; \
hadoop=$$(basename "$$jars"/hadoop-client-api-*.jar .jar); \
java -cp "$$jars/*" org.apache.ivy.Main -warn -confs $(2) -cache $(@D)/ivy \
	-dependency $(3) -retrieve '$(@D)/[artifact]-[revision].[ext]' > $(@D)/ivy.log
rm -rf $(@D)/ivy
touch $@
endef

# A client without Spark: what the core and one extra bring. pyspark's own client warns of pandas 3.
$(CONNECT)/ready: $(WHEEL) pyproject.toml $(BUILD)/ready
	$(call venv,$(CONNECT)) --requirements pyproject.toml --extra connect "pandas<3"
	$(UV) pip install --quiet --python $(CONNECT)/bin/python --reinstall --no-deps $(WHEEL)
	touch $@

# The server of Spark 3.5, which pyspark does not have. That of 3.5.9 is not on Maven Central; the last one there serves, too.
$(CONNECT35)/ready: | $(SPARK35)/packages
	$(call retrieve,$(SPARK35),master,org.apache.spark spark-connect_2.12 3.5.7)

# Delta Lake 3.3 is for Spark 3.5.
$(DELTA)/ready: | $(SPARK35)/packages
	$(call retrieve,$(SPARK35),master,io.delta delta-spark_2.12 3.3.2)
	$(call retrieve,$(SPARK35),master,io.delta delta-storage 3.3.2)

$(MOTO)/ready: $(BUILD)/ready
	$(call venv,$(MOTO)) "moto[s3]>=5.2.5" flask flask-cors
	touch $@

# Hadoop's connector for S3 in the version of the newest Spark's Hadoop, and AWS's SDK with it: 690 MB.
$(S3A)/ready: | $(SPARK4)/packages
	$(call retrieve,$(SPARK4),master compile,org.apache.hadoop hadoop-aws "$${hadoop##*-}")

image: $(WHEEL) ## Build the container image, with docker or CONTAINER=podman
	$(CONTAINER) build $(IMAGE_OPTIONS) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
		--file docker/Dockerfile --tag $(IMAGE) .

environments: $(SPARK4)/warm $(SPARK35)/warm $(S3A)/ready $(MOTO)/ready $(KFP)/ready $(CONNECT)/ready $(CONNECT35)/ready $(DELTA)/ready ## Install all that the tests need

# Against the sources and not the wheel: nothing is built.
check: ## Check style, types and the unit tests of what changed since the last commit
	test -x $(SPARK4)/bin/python || $(MAKE) $(SPARK4)/ready
	$(checks)
	tests=$$($(SPARK4)/bin/python tests/changed.py) && \
		{ test -z "$$tests" || PYTHONPATH=python $(SPARK4)/bin/python -m pytest -q -x -n 2 -m "not spark and not cluster" $$tests; }

test: environments ## Run all tests of every commit
	$(call all,$(PARTS))

ci: environments ## Run everything that CI runs: the tests and the demo
	$(call all,$(PARTS) demo)

# Runs parts one after the other; one that fails does not hide what becomes of the others. Ends with a line about how long
# each took, and one about what they skipped.
define all
@mkdir -p $(dir $(SKIPPED_TESTS)) && rm -f $(SKIPPED_TESTS)
+@code=0; times=; for part in $(1); do \
	SECONDS=0; outcome=; $(MAKE) --jobs=1 $$part || { code=2; outcome=" (failed)"; }; times+=", $$part $$SECONDS s$$outcome"; \
done; echo "Time of each part: $${times#, }."; $(PYTHON) tests/skipped.py $(SKIPPED_TESTS); exit $$code
endef

test-jvm: ## Check the style of the Scala modules and test them, and the bridge on Spark 3.5, too
	./sbt "++2.13; scalafmtCheckAll; test; $(SCALADOC_TASKS); ++2.12; bridge/test"
	$(collect_scaladoc)

test-spark4: $(SPARK4)/warm $(MOTO)/ready $(S3A)/ready $(CONNECT)/ready ## Test the built wheel on the newest Spark 4, what needs Spark
	$(SPARK4)/bin/python -m pytest $(PYTEST) -m "spark and not release" -n 2 --dist loadgroup tests/bridge tests/e2e

test-python: $(SPARK4)/ready $(MOTO)/ready ## Test the built wheel, what needs no Spark
	$(SPARK4)/bin/python -m pytest $(PYTEST) -m "not spark and not release" -n 2 --dist loadfile --no-loadscope-reorder tests/contract tests/e2e tests/unit

# What is no matter of Spark's line is left to Spark 4: an archive of classes that is damaged or cannot be made.
test-spark35: $(SPARK35)/warm $(CONNECT35)/ready $(DELTA)/ready ## Test the engines, their start and the main job once more on Spark 3.5
	$(SPARK35)/bin/python -m pytest $(PYTEST) -n 2 --dist loadgroup tests/bridge/test_doors.py \
		tests/bridge/test_dataframes.py::test_array_directory_and_dataframe_give_the_same_factors \
		tests/bridge/test_dataframes.py::test_a_delta_table_as_of_each_of_its_versions tests/bridge/test_connect.py \
		tests/bridge/test_ml.py::test_what_one_language_saves_the_other_loads \
		tests/bridge/test_warm_up.py::test_every_engine_takes_its_classes_from_the_archive \
		tests/e2e/test_denoise.py::test_steps_one_by_one_and_a_second_run_give_the_same_bytes

test-cluster: $(SPARK4)/ready $(KFP)/ready $(MOTO)/ready ## Test the image, and a Kubernetes cluster of its containers, with podman
	tests/cluster/image.sh
	$(SPARK4)/bin/python -m pytest $(PYTEST) -m "not release" -n 2 --dist loadfile tests/cluster

# It waits more than it works, so it can run beside the other tests.
soak: $(SPARK4)/ready ## Watch a node at work for five minutes, or SOAK_MINUTES: its memory and its file handles stay what they are
	SOAK_MINUTES=$${SOAK_MINUTES:-5} $(SPARK4)/bin/python -m pytest $(PYTEST) -m release tests/unit/node/test_node_soak.py

test-release: test ## Run, before a release, what takes too long for every time as well
	tests/bridge/every_spark.sh $(WHEEL)
	$(SPARK4)/bin/python -m pytest $(PYTEST) -m "release and not cluster" -n 2 --dist loadgroup tests
	$(SPARK4)/bin/python -m pytest $(PYTEST) -m "release and cluster" tests
	$(SPARK35)/bin/python -m pytest $(PYTEST) -m spark -n 2 --dist loadgroup tests/bridge/test_faults.py \
		tests/bridge/test_learning.py tests/e2e/test_denoise.py

k8s: $(SPARK4)/ready $(CONNECT)/ready ## Test on a real Kubernetes of one node, built from Go modules: as root, half an hour, and ten minutes more for the first build
	tests/cluster/image.sh
	CI=true tests/k8s/run.sh $(CURDIR)/$(SPARK4)/bin/python $(PYTEST) $(CURDIR)/tests/k8s

$(RELEASE)/ready: $(BUILD)/ready
	$(call venv,$(RELEASE)) "cyclonedx-python-lib[json-validation]>=11,<12" "griffe>=2,<3" "twine>=6"
	touch $@

cut: ## Write a version everywhere and close its section of the changelog: make cut RELEASED=0.2.0
	$(PYTHON) release/versions.py cut $(RELEASED)

release: ## Build a release, all but the upload, from the tag of this version into build/release
	release/build.sh v$(VERSION)

rehearsal: ## Build the same from the last commit
	release/build.sh HEAD

sign: ## Sign what make release has built: make sign KEY=FINGERPRINT
	release/sign.sh $(KEY)

# With the last release that this version promises to be compatible with; none in the first of a line. MiMa finds it by itself.
compatibility: $(RELEASE)/ready ## Compare the public names of Python and the JVM with the last compatible release
	@last=$$($(PYTHON) release/versions.py compatible); \
	if test -z "$$last"; then echo "No release that $(VERSION) promises to be compatible with."; exit; fi; \
	$(RELEASE)/bin/griffe check ctmahout --search python --extensions release/swallowed.py --against "v$$last" && \
	./sbt "+mimaReportBinaryIssues"

demo: $(SPARK4)/ready ## Make a low-dose chest CT, denoise it through Spark and Mahout, score it
	rm -rf demo
	$(SPARK4)/bin/ctmahout phantom demo/phantom
	$(SPARK4)/bin/ctmahout denoise demo/phantom/noisy demo/denoised
	$(SPARK4)/bin/ctmahout compare demo/phantom/noisy demo/phantom/clean
	$(SPARK4)/bin/ctmahout compare demo/denoised/auto demo/phantom/clean
	@echo "The denoised series is in demo/denoised/auto; open demo/denoised/report.html"

# The public low-dose chest of docs/reproduce.md; another one: make expectation SERIES=idc:UID NAME=name
SERIES ?= idc:1.2.840.113713.4.100.1.2.952399635120614382042631185039882
NAME ?= ldct-c002
ABOUT ?= $(SERIES), LDCT-and-Projection-data, patient C002, Low Dose Images (doi 10.7937/9npb-2637, CC BY 4.0).
EXPECTED := python/ctmahout/expected
CT := $${CTMAHOUT_TEST_DATA:-../shared/data/ct}

# The public series as soon as somebody with network has computed its expectation. The phantom's file is named, since on
# another processor its noise may differ, and its expectation would not be found by the source.
reproduce: $(SPARK4)/ready ## Denoise known series, the public one by its UID, and compare with what is expected
	rm -rf reproduce
	test ! -d $(CT) || $(SPARK4)/bin/ctmahout denoise $(CT)/chest_pair_sharp_B70f reproduce/chest-denoised
	test ! -d $(CT) || $(SPARK4)/bin/ctmahout verify reproduce/chest-denoised
	test ! -f $(EXPECTED)/$(NAME).json || $(SPARK4)/bin/ctmahout fetch $(SERIES) reproduce/$(NAME)
	test ! -f $(EXPECTED)/$(NAME).json || $(SPARK4)/bin/ctmahout denoise reproduce/$(NAME) reproduce/$(NAME)-denoised
	test ! -f $(EXPECTED)/$(NAME).json || $(SPARK4)/bin/ctmahout verify reproduce/$(NAME)-denoised $(EXPECTED)/$(NAME).json
	$(SPARK4)/bin/ctmahout phantom reproduce/phantom --size 128 --slices 12
	$(SPARK4)/bin/ctmahout denoise reproduce/phantom/noisy reproduce/phantom-denoised --effort fast
	$(SPARK4)/bin/ctmahout verify reproduce/phantom-denoised $(EXPECTED)/phantom.json

expectation: $(SPARK4)/ready ## Fetch the public series, denoise it, and write its expectation (once, with network)
	rm -rf reproduce/$(NAME) reproduce/$(NAME)-denoised
	$(SPARK4)/bin/ctmahout fetch $(SERIES) reproduce/$(NAME)
	$(SPARK4)/bin/ctmahout denoise reproduce/$(NAME) reproduce/$(NAME)-denoised
	$(SPARK4)/bin/ctmahout verify reproduce/$(NAME)-denoised --write $(EXPECTED)/$(NAME).json --about "$(ABOUT)" --overwrite

inputs: $(SPARK4)/ready ## Write docs/inputs.md anew: what happens to each awkward input
	$(SPARK4)/bin/python tests/unit/inputs_page.py $${CTMAHOUT_TEST_DATA:-../shared/data/ct} > docs/inputs.md

fuzz: $(SPARK4)/ready ## Run 20,000 spoilt files through reader and writer
	$(SPARK4)/bin/python tests/unit/fuzz.py $${CTMAHOUT_TEST_DATA:-../shared/data/ct} --cases 20000

# Makes an environment, if there is none, and begins the command that installs into it.
define venv
test -x $(1)/bin/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(1)
$(UV) pip install --quiet --python $(1)/bin/python
endef

define checks
$(SPARK4)/bin/ruff check .
$(SPARK4)/bin/ruff format --check .
$(SPARK4)/bin/mypy
MYPYPATH=bench $(SPARK4)/bin/mypy bench/*.py bench/evidence/*.py
$(SPARK4)/bin/mypy release/*.py
PYTHONPATH=python $(SPARK4)/bin/lint-imports --no-cache
$(SPARK4)/bin/hadolint docker/Dockerfile
endef

lint: $(SPARK4)/ready ## Check style, types and the direction of imports
	$(checks)

docs: $(SPARK4)/ready $(SCALADOC)/ready ## Build the documentation site in build/docs; warnings are errors
	$(SPARK4)/bin/python docs/pages.py
	$(SPARK4)/bin/python -m sphinx -q -W --keep-going docs build/docs
	rm -rf build/docs/scala && cp -r $(SCALADOC) build/docs/scala && rm build/docs/scala/ready

# Of Scala 2.13 and Spark 4; that of the other lines differs in nothing that is public. `make test-jvm` has an sbt and makes it, too.
$(SCALADOC)/ready: $(JVM_SOURCES)
	./sbt "++2.13; $(SCALADOC_TASKS)"
	$(collect_scaladoc)

define collect_scaladoc
rm -rf $(SCALADOC) && mkdir -p $(SCALADOC)
for module in samsara-spark sparkbindings bridge; do cp -r jvm/$$module/target/scala-2.13/api $(SCALADOC)/$$module || exit; done
touch $(SCALADOC)/ready
endef

format: $(SPARK4)/ready ## Format the sources in Python and Scala
	$(SPARK4)/bin/ruff check --fix .
	$(SPARK4)/bin/ruff format .
	./sbt scalafmtAll

# Kubeflow's kfp, of which the product and its other tests know nothing.
$(KFP)/ready: pyproject.toml $(BUILD)/ready
	$(call venv,$(KFP)) $$(sed -n 's/^kubeflow = \["\(.*\)"\]/\1/p' pyproject.toml) docker
	touch $@

$(RIVALS)/ready: bench/requirements.txt $(BUILD)/ready
	$(call venv,$(RIVALS)) --requirements bench/requirements.txt
	touch $@

# What noise power and transfer functions are checked against.
$(PYLINAC)/ready: $(BUILD)/ready
	$(call venv,$(PYLINAC)) "pylinac>=3.49,<4"
	touch $@

$(BENCH_JARS) &: $(JARS) $(BENCH_SOURCES)
	./sbt "+bench/package"
	touch $(BENCH_JARS)

bench: $(SPARK4)/ready $(SPARK35)/ready $(RIVALS)/ready $(BENCH_JARS) ## Measure everything and write docs/numbers.md
	$(SPARK4)/bin/python bench/pipeline.py
	$(SPARK4)/bin/python bench/start.py
	$(SPARK4)/bin/python bench/node.py
	$(SPARK4)/bin/python bench/dicom.py
	$(SPARK4)/bin/python bench/decomposition.py
	$(SPARK4)/bin/python bench/dataframes.py
	$(SPARK4)/bin/python bench/quality.py
	$(SPARK4)/bin/python bench/anatomy.py --curve $(if $(BEFORE),--before $(BEFORE))
	$(SPARK4)/bin/python bench/cohort.py
	test ! -d ../shared/data/ct || $(SPARK4)/bin/python bench/quality.py --real

# Its parts, in this order; some of them: make evidence EVIDENCE="insertion page". BM4D, whose licence is for non-commercial use
# only, takes part if an interpreter that has it is named: make evidence BM4D=.venv-bm4d/bin/python.
EVIDENCE ?= detectability insertion noise_and_transfer repeats page
$(addprefix evidence-,detectability insertion repeats): OPTIONS = $(if $(BM4D),--bm4d $(BM4D))
evidence-noise_and_transfer: OPTIONS = $(if $(BM4D),--bm4d $(BM4D)) --pylinac $(PYLINAC)/bin/python
evidence-noise_and_transfer: $(PYLINAC)/ready

evidence: ## Measure what physicists ask for and write docs/evidence.md: many hours, and it goes on after a kill
	+for part in $(EVIDENCE); do $(MAKE) evidence-$$part || exit; done

evidence-%: $(SPARK4)/ready
	PYTHONPATH=bench $(SPARK4)/bin/python -m evidence $* $(OPTIONS)

pictures: $(SPARK4)/ready ## Draw docs/pictures anew: a head, a chest and an abdomen, before and after
	$(SPARK4)/bin/python bench/pictures.py

clean: ## Remove everything that was built
	rm -rf dist build demo reproduce $(BUILD) $(SPARK4) $(SPARK35) $(RIVALS) $(PYLINAC) $(KFP) $(MOTO) $(CONNECT) $(RELEASE) .venv-sparks python/ctmahout/jars/*.jar
	find . -name target -type d -not -path './.git/*' -prune -exec rm -rf {} +
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
