# weir: see `make help`. One plain file; sources are listed by folder; SANITIZE=, V=1 and BUILD= are the knobs.
SHELL   := /bin/bash
VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
BUILD   ?= build$(if $(SANITIZE),/$(subst $(comma),-,$(SANITIZE)))
comma   := ,
Q       := $(if $(V),,@)

FLOORS  := base acl ratelimit conf proxy control master
PKGS    := libevent libssl libcrypto hiredis libyaml
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
           -Wwrite-strings -Wvla -Werror
OPT     ?= -O2 -g
CFLAGS  += -std=gnu11 -D_GNU_SOURCE -I. $(OPT) $(WARN) -fno-omit-frame-pointer -fno-strict-aliasing -DWEIR_VERSION='"$(VERSION)"'
LDLIBS  += -levent_core -levent_extra -lssl -lcrypto -lhiredis -lyaml -lpthread
ifneq ($(SANITIZE),)
CFLAGS  += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -O1
LDFLAGS += -fsanitize=$(SANITIZE)
else
CFLAGS  += -D_FORTIFY_SOURCE=2 -fstack-protector-strong
LDFLAGS += -Wl,-z,relro,-z,now
endif

CTLSRC  := control/weirctl.c
MAINSRC := master/main.c
LIBSRC  := $(filter-out $(CTLSRC) $(MAINSRC),$(foreach d,$(FLOORS),$(sort $(wildcard $(d)/*.c))))
LIBOBJ  := $(LIBSRC:%.c=$(BUILD)/%.o)
LIB     := $(BUILD)/libweir.a
UNITS   := $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/test_*.c)))
UNITBIN := $(UNITS:%=$(BUILD)/tests/unit/%)
LOADBIN := $(patsubst %.c,$(BUILD)/%,$(wildcard loadtest/*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
BIN     := $(if $(SANITIZE),$(BUILD)/,)

.PHONY: all help
all: $(BIN)weir $(BIN)weirctl ## build weir and weirctl

help: ## what can be made
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Objects are rebuilt when the flags change.
$(BUILD)/.flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(CFLAGS) $(LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(CFLAGS) $(LDFLAGS)' > $@
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC      $<")
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIBOBJ)
	@$(if $(V),,echo "  AR      $@")
	$(Q)rm -f $@; ar rcs $@ $^

$(BIN)weir: $(BUILD)/master/main.o $(LIB)
	@$(if $(V),,echo "  LD      $@")
	$(Q)$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LDLIBS)

$(BIN)weirctl: $(BUILD)/control/weirctl.o $(LIB)
	@$(if $(V),,echo "  LD      $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@$(if $(V),,echo "  LD      $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(BUILD)/tests/fuzz/h1_verdict: $(BUILD)/tests/fuzz/h1_verdict.o $(LIB)
	@$(if $(V),,echo "  LD      $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(LIB)
	@$(if $(V),,echo "  LD      $@")
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)


# --- the two commands, and the others ---

BUILD_DEPS := gcc make pkg-config libevent-dev libssl-dev libhiredis-dev libyaml-dev
RUN_DEPS   := $(BUILD_DEPS) redis-server curl
FUZZ_DEPS  := $(BUILD_DEPS) clang libclang-rt-dev nodejs python3
TEST_DEPS  := $(RUN_DEPS) libcmocka-dev python3 python3-pytest python3-websockets openssl ca-certificates procps slowhttptest strace wrk prometheus chromium chromium-driver
LINT_DEPS  := $(BUILD_DEPS) clang clang-format clang-tidy cppcheck python3 git
BENCH_DEPS := $(RUN_DEPS) python3 python3-matplotlib wrk nginx libnginx-mod-http-lua haproxy openssl valgrind strace

.PHONY: run test unit edge soak fuzz fuzz-build lint analyze bench chaos cost loadtest install clean deps-build deps-run deps-test deps-lint deps-bench deps-fuzz

deps-build deps-run deps-test deps-lint deps-bench deps-fuzz: deps-%:
	@tools/deps $(if $(filter build,$*),$(BUILD_DEPS))$(if $(filter run,$*),$(RUN_DEPS))$(if $(filter \
	  test,$*),$(sort $(TEST_DEPS) $(FUZZ_DEPS)))$(if $(filter lint,$*),$(LINT_DEPS))$(if $(filter bench,$*),$(BENCH_DEPS))$(if $(filter fuzz,$*),$(FUZZ_DEPS))

run: deps-run ## build, start redis, a demo origin and weir on 127.0.0.1:8080, and print requests to try
	@$(MAKE) --no-print-directory -j$(shell nproc) all $(BUILD)/loadtest/origin
	@tools/demo $(BIN)weir $(BIN)weirctl $(BUILD)/loadtest/origin

test: deps-test ## build and run every test: units in C, fuzz targets for some seconds, then edge tests against the real program
	@$(MAKE) --no-print-directory -j$(shell nproc) all $(UNITBIN) $(LOADBIN)
	@$(MAKE_FUZZERS)
	@tools/test $(BUILD) $(if $(SANITIZE),$(BUILD),.)

unit: $(UNITBIN) ## only the unit tests
	@tools/test --unit $(BUILD) $(if $(SANITIZE),$(BUILD),.)

edge: all $(LOADBIN) ## only the edge tests; ARGS="-k name" picks some
	@tools/test --edge $(BUILD) $(if $(SANITIZE),$(BUILD),.) $(ARGS)

# Their library is built apart, by clang.
MAKE_FUZZERS = $(MAKE) --no-print-directory -j$(shell nproc) BUILD=build/fuzz CC=clang \
               SANITIZE=fuzzer-no-link,address,undefined $(FUZZERS:%=build/fuzz/tests/fuzz/%) build/fuzz/tests/fuzz/h1_verdict

fuzz-build: deps-fuzz ## only build the fuzz targets (libFuzzer, with sanitizers)
	@$(MAKE_FUZZERS)

fuzz: fuzz-build ## all fuzz targets, TIME= seconds each (60), as many at once as there are CPUs; TARGETS="cookie json" picks some
	@tools/fuzz --time $(or $(TIME),60) $(if $(CORPUS),--corpus $(CORPUS)) build/fuzz $(TARGETS)

soak: all $(LOADBIN) ## bodies of 5 GB each way, with length and in chunks: memory stays flat
	@WEIR_LARGE_MB=5120 tools/test --edge $(BUILD) $(if $(SANITIZE),$(BUILD),.) -k test_large -s

lint: deps-lint ## format, floors, warnings of gcc and clang as errors
	@clang-format --dry-run --Werror $(foreach d,$(FLOORS) tests/unit tests/fuzz loadtest,$(wildcard $(d)/*.[ch]))
	@tools/lint-floors
	@$(MAKE) --no-print-directory BUILD=build/clang CC=clang build/clang/libweir.a $(FUZZERS:%=build/clang/tests/fuzz/%.o)

# gcc's analyzer, a stamp a file. What it is told to leave alone, and why:
# - leaks: what is reached through lists, pools and arrays is lost to its sight; LeakSanitizer sees to them in the
#   tests and fuzz targets.
# - local.c: the number of asks, which it does not see to be the same in two loops.
FANALYZER := -Wno-analyzer-malloc-leak
FANALYZER_ratelimit/local := -Wno-analyzer-use-of-uninitialized-value

build/analyzer/%.ok: %.c
	@mkdir -p $(@D)
	@echo "  ANALYZE $<"
	$(Q)gcc -std=gnu11 -D_GNU_SOURCE -I. -O1 -DWEIR_VERSION='"0"' -Werror -fanalyzer $(FANALYZER) $(FANALYZER_$*) -MMD -MF build/analyzer/$*.d \
	  -MT $@ -c -o /dev/null $<
	@touch $@

analyze: deps-lint ## clang-tidy, cppcheck and gcc -fanalyzer over the sources
	@$(MAKE) --no-print-directory -j$(shell nproc) $(patsubst %.c,build/analyzer/%.ok,$(LIBSRC) $(CTLSRC) $(MAINSRC))
	@cppcheck --quiet --error-exitcode=1 --enable=warning,portability --inline-suppr --std=c11 -I. -D_GNU_SOURCE \
	  --suppress=missingInclude --suppress=varFuncNullUB --suppress=normalCheckLevelMaxBranches $(LIBSRC) $(CTLSRC) $(MAINSRC)
	@clang-tidy --quiet --warnings-as-errors='*' $(LIBSRC) $(CTLSRC) $(MAINSRC) -- -std=gnu11 -D_GNU_SOURCE -I. -DWEIR_VERSION='"0"' 2>/dev/null

chaos: deps-test all $(BUILD)/loadtest/origin ## every fault injected under load, some minutes; WEIR_SEED= for other traffic
	@WEIR_CHAOS=long tools/test --edge $(BUILD) $(if $(SANITIZE),$(BUILD),.) -k test_chaos

bench: deps-bench all $(LOADBIN) ## weir beside other proxies: tables and a plot; PEERS=all fetches Envoy and Traefik first
	@$(if $(PEERS),loadtest/peers $(filter-out all,$(PEERS)))
	@loadtest/bench $(ARGS)

cost: deps-test $(BUILD)/loadtest/script_cost ## Redis CPU of a decision beside that of a bare INCR script
	@$(BUILD)/loadtest/script_cost

loadtest: deps-run all ## TOOL=k6|wrk SCENARIO=steady|ramp|spike|flood|many: lifts the limits, runs, restores, sums up
	@loadtest/run --tool "$(or $(TOOL),wrk)" --scenario "$(or $(SCENARIO),steady)" $(ARGS)

$(BUILD)/loadtest/%: $(BUILD)/loadtest/%.o
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/loadtest/script_cost: $(BUILD)/loadtest/script_cost.o $(LIB)
	@$(if $(V),,echo "  LD      $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

install: all ## to DESTDIR and PREFIX, with man pages
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BIN)weir $(DESTDIR)$(PREFIX)/sbin/weir
	install -m 755 $(BIN)weirctl $(DESTDIR)$(PREFIX)/bin/weirctl
	install -m 644 deploy/weir.8 $(DESTDIR)$(PREFIX)/share/man/man8/weir.8
	install -m 644 deploy/weirctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/weirctl.1

clean: ## all that was built
	rm -rf build weir weirctl

# Objects of tests are kept, so that the next run is quick.
.SECONDARY:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
