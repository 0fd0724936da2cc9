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
CFLAGS  += -std=gnu11 -D_GNU_SOURCE -I. $(OPT) $(WARN) -fno-omit-frame-pointer -DWEIR_VERSION='"$(VERSION)"'
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

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
