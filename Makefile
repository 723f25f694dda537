# `make help` says what there is.

CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# Where `make install` puts things. A package sets PREFIX=/usr and DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=
# The program to install.
BINARY ?= $(TARGET)/release/floorgate
BINDIR ?= $(PREFIX)/bin
SYSCONFDIR ?= /etc
# The unit's StateDirectory.
STATEDIR := /var/lib/floorgate
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
DOCDIR ?= $(PREFIX)/share/doc/floorgate

# Pages and what they link to lie in DOCDIR as they lie here.
DOCUMENTS := README.md ARCHITECTURE.md LICENSE NOTICE config/REFERENCE.md adapters/api/README.md $(foreach adapter,opcua modbus,adapters/$(adapter)/README.md adapters/$(adapter)/RUNBOOK.md) src/daemon/RUNBOOK.md \
	simulator/README.md tests/README.md $(addprefix examples/consumer/,README.md consumer.py consumer.rs)

# Optimised, the C libraries too: without it the release profile is what is built fast (Cargo.toml, .cargo/config.toml).
OPTIMISED := CARGO_PROFILE_RELEASE_OPT_LEVEL=2 CFLAGS="$(or $(CFLAGS),-g0)"

# What is shipped and tested has jemalloc; `cargo run` alone is built without it, which is faster (src/daemon/Cargo.toml).
SHIPPED := --features floorgate/jemalloc

# Arguments of the programs: `make demo ARGS='--for 20s --lines 40'`.
ARGS ?=
# How long `make soak` goes on.
HOURS ?= 8

.DELETE_ON_ERROR:
.PHONY: help build release dist setup test demo bench soak lint format generate install uninstall clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build everything, with debug information
	$(CARGO) build --workspace --bins --examples --locked $(SHIPPED)

release: ## build the gateway, optimised
	$(OPTIMISED) $(CARGO) build --release --locked --package floorgate $(SHIPPED)

dist: ## build the gateway as packages ship it, optimised over all crates (slow)
	$(OPTIMISED) $(CARGO) build --profile dist --locked --package floorgate $(SHIPPED)

setup: ## install what the tests need under target/test
	@tests/setup $(TARGET)/test

test: setup build ## run all tests, against a real Kafka, OPC UA server and Modbus server
	@rm -rf $(TARGET)/test/run
	$(CARGO) test --workspace --locked $(SHIPPED)
	@rm -rf $(TARGET)/test/run

demo: ## a simulated plant, a broker and the gateway in one command
	$(CARGO) run --release --locked --package floorgate -- demo $(ARGS)

bench: setup dist ## measure latency, CPU and memory: plant, gateway, Kafka and consumer as processes
	$(OPTIMISED) $(CARGO) build --release --locked --workspace --bins $(SHIPPED)
	$(OPTIMISED) $(CARGO) build --release --locked --package floorgate-simulator --example load_check
	$(OPTIMISED) $(CARGO) build --release --locked --package floorgate-publisher --example drain
	$(OPTIMISED) $(CARGO) run --release --locked --package floorgate-tests --bin bench -- --gateway $(TARGET)/dist/floorgate $(ARGS)

soak: setup ## kill gateway, broker and PLC again and again (HOURS=8); in a round the gateway a thousand times, the broker for an hour
	$(CARGO) build --release --locked --workspace --bins $(SHIPPED)
	HISTORIES=3000000 $(CARGO) test --release --locked --package floorgate-publisher --lib model_tests
	end=$$(($$(date +%s) + $(HOURS) * 3600)); while [ $$(date +%s) -lt $$end ]; do \
		KILLS=1000 AWAY_SECONDS=3600 $(CARGO) test --release --locked --package floorgate-tests --test floor -- \
			kill_loop broker delivery survival fail_points copies takeover transactions partitions reload disk_and_clock priority modbus operation || exit 1; done

lint: ## formatting and clippy, as the continuous integration does
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked $(SHIPPED) -- -D warnings

format: ## format the sources
	$(CARGO) fmt --all

generate: build ## write the files that the program generates: settings reference, schemas, notices
	$(TARGET)/debug/floorgate reference >config/REFERENCE.md
	$(TARGET)/debug/floorgate schema config >config/floorgate.schema.json
	$(TARGET)/debug/floorgate schema mapping >mappings/mapping.schema.json
	$(TARGET)/debug/floorgate schema test >mappings/test.schema.json
	$(TARGET)/debug/floorgate schema events >mappings/events.schema.json
	tests/notices >NOTICE

# The configuration is only installed where there is none yet: it is the operator's. The paths of the unit follow PREFIX. Its sample
# mappings lie with the documentation, so that `mappings/*.yaml` are the operator's alone. The state folder is made for the service's
# user, so that `floorgate pki` can be used before the first start.
install: ## install program, unit, user and sample configuration (PREFIX, DESTDIR)
	@test -x $(BINARY) || { echo "$(BINARY) is not built: run 'make release' first, as yourself" >&2; exit 1; }
	install -D -m 0755 $(BINARY) $(DESTDIR)$(BINDIR)/floorgate
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR)
	sed 's|/usr/local/bin/|$(BINDIR)/|; s|/usr/local/share/doc/floorgate|$(DOCDIR)|; s|/etc/floorgate|$(SYSCONFDIR)/floorgate|' \
		systemd/floorgate.service \
		>$(DESTDIR)$(UNITDIR)/floorgate.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/floorgate.service
	install -m 0644 systemd/floorgate.sysusers $(DESTDIR)$(SYSUSERSDIR)/floorgate.conf
	for file in $(DOCUMENTS) $$(find mappings -type f); do install -D -m 0644 $$file $(DESTDIR)$(DOCDIR)/$$file || exit 1; done
	install -m 0644 systemd/floorgate.service.d/serial.conf $(DESTDIR)$(DOCDIR)
	install -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/floorgate
	install -d -m 0700 $(DESTDIR)$(SYSCONFDIR)/floorgate/secrets
	install -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/floorgate/mappings
	install -m 0644 config/*.schema.json $(DESTDIR)$(SYSCONFDIR)/floorgate
	install -m 0644 mappings/*.schema.json $(DESTDIR)$(SYSCONFDIR)/floorgate/mappings
	test -e $(DESTDIR)$(SYSCONFDIR)/floorgate/floorgate.yaml || { \
		sed 's|^state_dir: .*|state_dir: $(STATEDIR)|; s|\.\./mappings/|$(DOCDIR)/mappings/|' config/floorgate.yaml \
			>$(DESTDIR)$(SYSCONFDIR)/floorgate/floorgate.yaml && \
		chmod 0644 $(DESTDIR)$(SYSCONFDIR)/floorgate/floorgate.yaml; }
ifeq ($(DESTDIR),)
	@if command -v systemd-sysusers >/dev/null; then systemd-sysusers $(SYSUSERSDIR)/floorgate.conf; fi
	@if id floorgate >/dev/null 2>&1; then install -d -m 0700 $(STATEDIR) && chown -R floorgate:floorgate $(STATEDIR); \
		else echo "There is no user floorgate: the service makes $(STATEDIR) when it starts"; fi
	@if test -d /run/systemd/system; then systemctl daemon-reload; fi
	@echo "Edit $(SYSCONFDIR)/floorgate, then: systemctl enable --now floorgate"
endif

uninstall: ## remove what install put there; configuration and state stay
ifeq ($(DESTDIR),)
	@if test -d /run/systemd/system; then systemctl disable --now floorgate || true; fi
endif
	rm -f $(DESTDIR)$(BINDIR)/floorgate $(DESTDIR)$(UNITDIR)/floorgate.service \
		$(DESTDIR)$(SYSUSERSDIR)/floorgate.conf
	rm -rf $(DESTDIR)$(DOCDIR)
ifeq ($(DESTDIR),)
	@if test -d /run/systemd/system; then systemctl daemon-reload; fi
endif

clean: ## delete everything that was built or installed for tests
	$(CARGO) clean
