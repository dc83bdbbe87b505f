# bprior: `make help` lists what there is. The library itself needs no building: it is bprior.h.
#
#   CC, CFLAGS     compiler and optimisation (default cc, -O2 -g)
#   MUJOCO         auto (default), system, wheel or none; MUJOCO_DIR=/path for one of your own
#   T=text         `make test`: only what has this text in its name, as in T=05, T=asan, T=portability; `make docs-test`
#   QUICK=1        `make demo`: the half-minute setting; `make film`: 20 steps
#   OUT=DIR        `make bench-growth`: where to (default build/growth; docs/results/growth renews what is there)
#   ARGS="..."     `make demo`, `make film`, `make watch`, `make bench`, `make bench-peers`: more arguments for the program
#   PREFIX, DESTDIR  `make install` (default /usr/local)

CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
MUJOCO ?= auto
WARN = -Wall -Wextra
export CC MUJOCO MUJOCO_DIR

HEADERS := $(wildcard bprior.h bprior_mujoco.h)
# Parallel unless the user chose a number.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

.PHONY: help demo film watch test parity deps bench bench-peers bench-growth docs docs-test lint equations format examples install uninstall clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo       train a behavior prior and plot it (sets up what it needs); QUICK=1 for half a minute'
	@echo 'make film       films and pictures of a body in build/film, no display needed: ARGS="--help"'
	@echo 'make watch      the same in a window: ARGS="--policy build/demo/behavior"'
	@echo 'make test       every test, in float, in double and under the sanitizers (sets up what it needs)'
	@echo 'make parity     MuJoCo bodies and tasks against the reference: difference and tolerance, on every MuJoCo there is'
	@echo 'make deps       install what all the targets need, and say what and why'
	@echo 'make bench      measure speed into build/bench.json'
	@echo 'make bench-peers  the same steps in PyTorch (installed if need be), in turn with ours, into build/bench-peers.json'
	@echo 'make bench-growth  how time and memory grow, drawn into build/growth (OUT=): three minutes'
	@echo 'make docs       the documentation site: docs/html/index.html, to be opened from disk, without a network'
	@echo 'make docs-test  the site as a reader meets it: every page in a browser, every link, every complete program; and'
	@echo '                what the examples print, the exercises and their answers (T=lessons: only these)'
	@echo 'make lint       layout, names, documentation; make format applies the layout'
	@echo 'make equations  does docs/equations.md agree with code and tests, in all directions?'
	@echo 'make format     clang-format on all sources'
	@echo 'make examples   build examples/NN_*.c and examples/paper/*.c into build/examples'
	@echo 'make install    headers and pkg-config file to PREFIX=$(PREFIX) (DESTDIR=); make uninstall removes them'
	@echo 'make clean      remove build/ (.deps/ stays)'
	@echo
	@echo 'Choices: CC= CFLAGS= MUJOCO=auto|system|wheel|none MUJOCO_DIR= T=name-of-a-test QUICK=1 (see the Makefile)'

deps:
	@tools/deps.sh all

# The recipes below first install, then call make again, so that what was just installed is seen.

demo:
	@tools/deps.sh demo
	@$(MAKE) --no-print-directory _demo

film:
	@tools/deps.sh film
	@$(MAKE) --no-print-directory _film

watch:
	@tools/deps.sh watch
	@$(MAKE) --no-print-directory _watch

test:
	@tools/deps.sh test
	@rm -rf build/results
	@$(MAKE) --no-print-directory -k $(JOBS) _test || true
	@$(MAKE) --no-print-directory -s _tally

# Every MuJoCo that can be had, or the one that was chosen.
parity:
	@tools/parity.sh

bench:
	@tools/deps.sh bench
	@$(MAKE) --no-print-directory _bench

bench-peers:
	@tools/deps.sh bench-peers
	@$(MAKE) --no-print-directory _bench-peers

docs:
	@tools/deps.sh docs
	@tools/docs.sh

docs-test:
	@tools/deps.sh docs-test
	@tests/docs/all.sh $(if $(T),"$(T)")

OUT ?= build/growth
bench-growth:
	@tools/deps.sh bench
	@$(MAKE) --no-print-directory _bench_growth

lint:
	@tools/deps.sh lint
	@tools/lint.sh

equations:
	@tools/equations.sh

format:
	@tools/deps.sh lint
	@tools/lint.sh format

examples:
	@$(MAKE) --no-print-directory -k $(JOBS) _examples

clean:
	rm -rf build

# ---- install ------------------------------------------------------------------------------------

VERSION = $(shell sed -n 's/^\# *define BPRIOR_VERSION "\([^"]*\)".*/\1/p' bprior.h)
INSTALLED = $(addprefix $(DESTDIR)$(PREFIX)/include/,$(HEADERS)) $(DESTDIR)$(PREFIX)/lib/pkgconfig/bprior.pc

install:
	mkdir -p $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 $(HEADERS) $(DESTDIR)$(PREFIX)/include/
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: bprior' \
	    'Description: behavior priors for reinforcement learning, a header-only library' \
	    'Version: $(VERSION)' 'Cflags: -I$${includedir}' 'Libs: -lm' 'Libs.private: -pthread' \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/bprior.pc

uninstall:
	rm -f $(INSTALLED)

# ---- everything below runs inside the second make ---------------------------------------------------

ifneq ($(filter _%,$(MAKECMDGOALS)),)

MJ_TAG := $(shell tools/mujoco.sh tag)
MJ_CFLAGS := $(if $(MJ_TAG),$(shell tools/mujoco.sh cflags))
MJ_LIBS := $(if $(MJ_TAG),$(shell tools/mujoco.sh libs))
needs_mujoco = $(if $(1),$(shell grep -l 'include.*bprior_mujoco\.h' $(1) /dev/null))

# Only what makes pictures is compiled for OpenGL; even that is linked with no GL library.
GL_CFLAGS := $(if $(MJ_TAG),$(shell tools/gl.sh cflags))
GL_LIBS := $(if $(MJ_TAG),$(shell tools/gl.sh libs))

ALL_TESTS := $(sort $(wildcard tests/test_*.c))
MJ_TESTS := $(call needs_mujoco,$(ALL_TESTS))
FILM_TESTS := $(if $(ALL_TESTS),$(shell grep -l 'bp_mj_film_create' $(ALL_TESTS) /dev/null))
THREAD_TESTS := $(if $(ALL_TESTS),$(shell grep -l 'bp_team_\|BPRIOR_THREADS\|bp_run_' $(ALL_TESTS) /dev/null))
# ThreadSanitizer sees what tests of bprior_mujoco.h do with threads, not what libmujoco does: that is not instrumented.
MJ_THREAD_TESTS := $(if $(MJ_TESTS),$(shell grep -l 'bp_team_\|BPRIOR_THREADS\|bp_run_\|pthread_create' $(MJ_TESTS) /dev/null))
# A test program may hold the library itself, but most only call it: those share one object per variant, which
# makes the difference between three and ten minutes. (BPRIOR_IMPLEMENTED says: it is somewhere else.)
WHOLE_TESTS := $(MJ_TESTS) $(if $(ALL_TESTS),$(shell grep -l -E 'bpi_|BPI_|define +BPRIOR_[^I]' $(ALL_TESTS) /dev/null))
ALL_EXAMPLES := $(sort $(wildcard examples/[0-9][0-9]_*.c))
MJ_EXAMPLES := $(call needs_mujoco,$(ALL_EXAMPLES))
# One main per experiment of the paper; all get threads, and those that include bprior_mujoco.h get MuJoCo.
ALL_PAPER := $(sort $(wildcard examples/paper/*.c))
MJ_PAPER := $(call needs_mujoco,$(ALL_PAPER))

FLAGS_float := $(CFLAGS) -DBPRIOR_THREADS
FLAGS_double := $(CFLAGS) -DBPRIOR_DOUBLE
FLAGS_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DBPRIOR_THREADS
FLAGS_tsan := -O1 -g -fsanitize=thread -DBPRIOR_THREADS

# A change of compiler or flags rebuilds; the file changes only when its content does.
build/flags: FORCE
	@mkdir -p build
	@echo '$(CC) $(CFLAGS) $(WARN) $(WERROR) $(LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(CFLAGS) $(WARN) $(WERROR) $(LDFLAGS)' > $@
.PHONY: FORCE
FORCE:

# $(1) source, $(2) output, $(3) flags, $(4) objects and libraries
define program
$(2): $(1) $(filter %.o,$(4)) $(HEADERS) $(wildcard tests/*.h examples/*.h $(dir $(1))*.h) build/flags
	@mkdir -p $(dir $(2))
	@$$(CC) -std=gnu99 $$(WARN) $$(WERROR) $(3) -I. -Itests $(1) -o $(2) $$(LDFLAGS) $(4) -lm -pthread
endef
# $(1) variant
define library
build/test/$(1)/bprior.o: tests/portability/implementation.c $(HEADERS) build/flags
	@mkdir -p build/test/$(1)
	@$$(CC) -std=gnu99 $$(WARN) $$(WERROR) $$(FLAGS_$(1)) -I. -c $$< -o $$@
endef
$(foreach v,float double asan tsan,$(eval $(call library,$(v))))

# $(1) variant, $(2) source, $(3) "mujoco" or nothing. A test's id is variant/name, variant-mujoco/name.
id = $(1)$(if $(3),-mujoco)/$(basename $(notdir $(2)))
shared = $(if $(filter $(WHOLE_TESTS),$(2)),,build/test/$(1)/bprior.o)
# Under ASan the kernels take most of a minute to compile: the tests of chapters 3 and 4 and the shared object have them, that will do.
plain = $(if $(filter asan,$(1)),$(if $(filter $(2),$(WHOLE_TESTS)),$(if $(filter %/test_03_random.c %/test_04_linalg.c,$(2)),,-DBPRIOR_NO_SIMD)))$(if $(filter tsan,$(1)),$(if $(filter $(2),$(MJ_TESTS)),-DBPRIOR_NO_SIMD))
bin = build/test/$(1)$(if $(3),-$(MJ_TAG))/$(basename $(notdir $(2)))
define one_test
IDS += $(call id,$(1),$(2),$(3))
run/$(call id,$(1),$(2),$(3)): $(call bin,$(1),$(2),$(3))
	@tools/run-test.sh $$(@:run/%=%) $$<
$(call program,$(2),$(call bin,$(1),$(2),$(3)),$$(FLAGS_$(1)) $(call plain,$(1),$(2)) $(if $(call shared,$(1),$(2)),-DBPRIOR_IMPLEMENTED) $(if $(3),$(MJ_CFLAGS)) $(if $(filter $(FILM_TESTS),$(2)),$(GL_CFLAGS)),$(call shared,$(1),$(2)) -lcmocka $(if $(3),$(MJ_LIBS)) $(if $(filter $(FILM_TESTS),$(2)),$(GL_LIBS)))
endef
define one_example
IDS += example/$(basename $(notdir $(1)))
EXAMPLE_BINS += build/$(basename $(1))
run/example/$(basename $(notdir $(1))): build/$(basename $(1))
	@tools/run-test.sh -c $$(@:run/%=%) tools/check-example.sh $$< $(1)
$(call program,$(1),build/$(basename $(1)),$$(CFLAGS) $(if $(2),$(MJ_CFLAGS)),$(if $(2),$(MJ_LIBS)))
endef
# The same for an experiment of examples/paper: a --quick run whose files are looked at.
define one_paper
IDS += paper/$(basename $(notdir $(1)))
EXAMPLE_BINS += build/$(basename $(1))
run/paper/$(basename $(notdir $(1))): build/$(basename $(1))
	@tools/run-test.sh -c $$(@:run/%=%) tools/check-paper.sh $$<
$(call program,$(1),build/$(basename $(1)),$$(CFLAGS) -DBPRIOR_THREADS $(if $(2),$(MJ_CFLAGS)),$(if $(2),$(MJ_LIBS)))
endef
define one_check
IDS += portability/$(1)
run/portability/$(1):
	@tools/run-test.sh -c $$(@:run/%=%) tests/portability/run.sh $(1)
endef

# The slow ones first: what runs last on one core should be short.
PLAIN_TESTS := $(filter-out $(MJ_TESTS),$(ALL_TESTS))
$(foreach t,$(filter $(THREAD_TESTS),$(PLAIN_TESTS)),$(eval $(call one_test,tsan,$(t),)))
$(foreach v,asan float double,$(foreach t,$(PLAIN_TESTS),$(eval $(call one_test,$(v),$(t),))))
ifneq ($(MJ_TAG),)
$(foreach t,$(MJ_THREAD_TESTS),$(eval $(call one_test,tsan,$(t),mujoco)))
$(foreach v,asan float double,$(foreach t,$(MJ_TESTS),$(eval $(call one_test,$(v),$(t),mujoco))))
endif
$(foreach e,$(filter-out $(MJ_PAPER),$(ALL_PAPER)),$(eval $(call one_paper,$(e),)))
$(foreach e,$(filter-out $(MJ_EXAMPLES),$(ALL_EXAMPLES)),$(eval $(call one_example,$(e),)))
ifneq ($(MJ_TAG),)
$(foreach e,$(MJ_PAPER),$(eval $(call one_paper,$(e),mujoco)))
$(foreach e,$(MJ_EXAMPLES),$(eval $(call one_example,$(e),mujoco)))
endif
$(foreach c,$(shell tests/portability/run.sh list),$(eval $(call one_check,$(c))))

CHOSEN = $(if $(T),$(foreach i,$(IDS),$(if $(findstring $(T),$(i)),$(i))),$(IDS))

.PHONY: _test _tally _parity _examples _lessons _demo _bench $(addprefix run/,$(IDS))
_test: $(addprefix run/,$(CHOSEN))
_tally:
	$(if $(MJ_TAG)$(filter none,$(MUJOCO)),,@echo 'no MuJoCo: its $(words $(MJ_TESTS) $(MJ_PAPER)) test programs were left out')
	@tools/tally.sh $(CHOSEN)

# In double precision nothing is rounded but by the two sides' own arithmetic.
_parity: $(call bin,double,tests/test_mujoco_parity.c,mujoco)

_examples: $(EXAMPLE_BINS)

# Once more those with a page of their own in docs/lessons, into $(LESSONS) and with $(LESSON_FLAGS): tools/lesson-output.sh runs
# them, and tests/docs/lessons.sh links the answers of the exercises with the same library.
LESSONS ?= build/lessons
lesson = $(LESSONS)/$(basename $(notdir $(1)))
$(LESSONS)/bprior.o: tests/portability/implementation.c $(HEADERS) build/flags
	@mkdir -p $(LESSONS)
	@$(CC) -std=gnu99 $(WARN) $(WERROR) $(CFLAGS) $(LESSON_FLAGS) -I. -c $< -o $@
$(foreach e,$(filter-out $(MJ_EXAMPLES),$(ALL_EXAMPLES)),$(eval $(call program,$(e),$(call lesson,$(e)),$$(CFLAGS) $$(LESSON_FLAGS) -DBPRIOR_IMPLEMENTED,$(LESSONS)/bprior.o)))
$(if $(MJ_TAG),$(foreach e,$(MJ_EXAMPLES),$(eval $(call program,$(e),$(call lesson,$(e)),$$(CFLAGS) $$(LESSON_FLAGS) $(MJ_CFLAGS),$(MJ_LIBS)))))
_lessons: $(LESSONS)/bprior.o $(foreach e,$(if $(MJ_TAG),$(ALL_EXAMPLES),$(filter-out $(MJ_EXAMPLES),$(ALL_EXAMPLES))),$(call lesson,$(e)))

DEMO_BIN := build/demo-bin/$(or $(MJ_TAG),none)/demo
$(eval $(call program,examples/demo.c,$(DEMO_BIN),$(CFLAGS) -DBPRIOR_THREADS $(MJ_CFLAGS),$(MJ_LIBS)))
_demo: $(DEMO_BIN)
	@mkdir -p build/demo
	@$(DEMO_BIN) --out build/demo $(if $(QUICK),--quick) $(ARGS)

# Films and the window: not among `make examples`, which need no OpenGL.
FILM_BIN := build/examples/$(or $(MJ_TAG),none)/film
WATCH_BIN := build/examples/$(or $(MJ_TAG),none)/watch
$(eval $(call program,examples/film.c,$(FILM_BIN),$(CFLAGS) $(GL_CFLAGS) $(MJ_CFLAGS),$(MJ_LIBS) $(GL_LIBS)))
$(eval $(call program,examples/watch.c,$(WATCH_BIN),$(CFLAGS) $(MJ_CFLAGS),$(MJ_LIBS) -lglfw))
.PHONY: _film _watch
_film: $(if $(MJ_TAG),$(FILM_BIN))
	$(if $(MJ_TAG),,@echo 'make film needs MuJoCo, and MUJOCO=$(MUJOCO) finds none' >&2; exit 1)
	@$(FILM_BIN) --out build/film $(if $(QUICK),--quick) $(ARGS)
_watch: $(if $(MJ_TAG),$(WATCH_BIN))
	$(if $(MJ_TAG),,@echo 'make watch needs MuJoCo, and MUJOCO=$(MUJOCO) finds none' >&2; exit 1)
	@$(WATCH_BIN) $(if $(QUICK),--quick) $(ARGS)

# Plain -O2, as a user would get; OpenBLAS, if there, as the yardstick.
CBLAS := $(if $(filter _bench _bench_growth,$(MAKECMDGOALS)),$(shell tools/cblas.sh))
BENCHES := $(wildcard tests/bench/*.c)
$(foreach b,$(BENCHES),$(eval $(call program,$(b),$(b:tests/%.c=build/%),-O2 -DBPRIOR_THREADS $(if $(CBLAS),-DBPRIOR_USE_CBLAS) $(if $(MJ_TAG),-DBENCH_MUJOCO $(MJ_CFLAGS)),$(CBLAS) $(MJ_LIBS))))
_bench: $(patsubst tests/%.c,build/%,$(filter-out %/bench_growth.c,$(BENCHES)))
	@OPENBLAS_NUM_THREADS=1 build/bench/bench --out build/bench.json $(ARGS)
.PHONY: _bench_growth
_bench_growth: build/bench/bench_growth
	@mkdir -p $(OUT)
	@OPENBLAS_NUM_THREADS=1 build/bench/bench_growth --out $(OUT) $(ARGS)
	@gp=$$(pwd)/docs/results/growth/growth.gp; cd $(OUT) && gnuplot "$$gp" && echo "in $(OUT): CSV files, and the pictures whose curves are all there"

# The peer and what is installed for it: tools/deps.sh.
.PHONY: _bench-peers
_bench-peers: build/bench/bench_peers
	@PYTHONPATH=$(CURDIR)/.deps/python$${PYTHONPATH:+:$$PYTHONPATH} python3 tests/bench/peers.py $< --out build/bench-peers.json $(ARGS)

endif
