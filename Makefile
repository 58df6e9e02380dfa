# cfsmountd: see README.md. Every target does its own set-up and says what it installs.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
NODE ?=
CC ?= gcc
BIN := node_modules/.bin
PARK_FLAGS := -static -Os -Wall -Wextra -Werror

SOURCES := $(shell git ls-files -co --exclude-standard -- '*.ts' '*.mts' 2>/dev/null || find core policy daemon client test bench -name '*.ts')
UNIT_TESTS = $(patsubst %.ts,build/%.js,$(shell find core policy daemon client bench test/manual -name '*.test.ts'))

.PHONY: build check test confined mutants fuzz kills soak demo bench install deb package-test clean format deps-build deps-test vm-test vm-test-long

build: dist/.built

deps-build:
	@tools/install-deps build

deps-test:
	@tools/install-deps test

node_modules/.installed: package.json package-lock.json
	npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

build/.compiled: node_modules/.installed tsconfig.base.json tsconfig.json $(SOURCES)
	$(BIN)/tsc -b
	@touch $@

dist/cfsmountd-park: core/kernel/park.c
	@tools/install-deps build
	@mkdir -p dist
	$(CC) $(PARK_FLAGS) -o $@ $<

dist/.built: build/.compiled dist/cfsmountd-park tools/bundle.mjs tools/loader.cjs tools/write-code-cache.cjs
	node tools/bundle.mjs
	@touch $@

# Types, lint, format, dead code, unit tests. No root needed.
check: dist/.built
	$(BIN)/oxlint --type-aware --deny-warnings core policy daemon client test bench
	$(BIN)/oxfmt --check .
	$(BIN)/knip
	tools/check-rules
	node --test $(UNIT_TESTS)

# Everything, with real mounts; as root.
test: deps-test check
	@test "$$(id -u)" = 0 || { echo 'make test mounts file systems: run it as root (sudo make test)' >&2; exit 1; }
	node --test --test-concurrency=1 $$(find build/test/kernel build/test/e2e build/test/attacks -name '*.test.js' ! -name 'without-defence*' | sort)

# The same tests, with the daemon under what systemd/cfsmountd.service takes from it.
confined: deps-test dist/.built
	rm -rf build/confined && node build/test/support/confine-main.js build/confined
	CFSMOUNTD_DIST=$(CURDIR)/build/confined node --test --test-concurrency=1 $$(find build/test/e2e build/test/attacks -name '*.test.js' \
	  ! -name 'without-defence*' ! -name 'confined*' ! -name 'code-cache*' ! -name 'install*' ! -name 'bus-activation*' | sort)

# Shows that each attack test fails when its defence is taken out: 155 mutated daemons, ten minutes.
mutants: deps-test dist/.built
	node --test build/test/attacks/without-defence.test.js

# 200,000 damaged images and dumps; make check has a short tier of the same.
fuzz: build/.compiled
	node build/test/fuzz/image.js --count 200000 --seed $${SEED:-1}

# cfsctl mkfs and import killed at 200 random points each, oci import at 100; make test has a shorter tier of the same.
kills: deps-test dist/.built
	KILLS=200 node --test --test-concurrency=1 build/test/e2e/mkfs-killed.test.js build/test/e2e/import-killed.test.js
	KILLS=100 node --test build/test/e2e/oci-import-killed.test.js

soak: deps-test dist/.built
	node build/test/soak/soak.js

demo: deps-test dist/.built
	@tools/demo

bench: deps-test dist/.built
	@tools/install-deps bench
	node build/bench/main.js

format: node_modules/.installed
	$(BIN)/oxfmt .

# Variables: DESTDIR, PREFIX, SYSCONFDIR, NODE (the interpreter to write into the programs).
install: build
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' NODE='$(NODE)' tools/install-files

# ARCHITECTURE: amd64 or arm64; by default this machine's.
deb: build
	@tools/install-deps deb
	tools/make-deb $(ARCHITECTURE)

# The package: its content, Debian's checker, and the service under systemd in a container (systemd-nspawn, no VM); as root.
package-test: deps-test dist/.built
	@tools/install-deps deb
	@tools/install-deps package
	node --test --test-concurrency=1 build/test/package/*.test.js

# The package on Debian 13 in an emulated VM: Linux 6.12, fs-verity, systemd 257; as root. The VM is built once, below VM_DIR.
vm-test vm-test-long:
	@test "$$(id -u)" = 0 || { echo 'make $@ builds and boots a VM: run it as root (sudo make $@)' >&2; exit 1; }
	@$(MAKE) --no-print-directory deps-test deb >&2
	@tools/install-deps vm >&2
	@test/vm/vm-test $(if $(filter vm-test-long,$@),long)

clean:
	rm -rf build dist
