# cfsmountd: see README.md. Every target does its own set-up and says what it installs.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
BIN := node_modules/.bin
PARK_FLAGS := -static -Os -Wall -Wextra -Werror

SOURCES := $(shell git ls-files -co --exclude-standard -- '*.ts' '*.mts' 2>/dev/null || find core policy daemon client test bench -name '*.ts')
UNIT_TESTS = $(patsubst %.ts,build/%.js,$(shell find core policy daemon client bench -name '*.test.ts'))

.PHONY: build check test unit e2e attacks mutants fuzz kills soak demo bench install clean format deps-build deps-test vm-test

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

dist/.built: build/.compiled dist/cfsmountd-park tools/bundle.mjs
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

# Shows that each attack test fails when its defence is taken out: some ninety mutated daemons, five minutes.
mutants: deps-test dist/.built
	node --test build/test/attacks/without-defence.test.js

# 200,000 damaged images and dumps; make check has a short tier of the same.
fuzz: build/.compiled
	node build/test/fuzz/image.js --count 200000 --seed $${SEED:-1}

# cfsctl mkfs and import killed at 200 random points each; make test has a shorter tier of the same.
kills: deps-test dist/.built
	KILLS=200 node --test --test-concurrency=1 build/test/e2e/mkfs-killed.test.js build/test/e2e/import-killed.test.js

soak: deps-test dist/.built
	node build/test/soak/soak.js

demo: deps-test dist/.built
	@tools/demo

bench: deps-test dist/.built
	@tools/install-deps bench
	node build/bench/main.js

format: node_modules/.installed
	$(BIN)/oxfmt .

LIB = $(DESTDIR)$(PREFIX)/lib/cfsmountd
install: build
	install -d $(LIB) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/dbus-1/system.d
	install -m 755 dist/cfsmountd dist/cfsctl dist/cfsmountd-park $(LIB)/
	install -m 644 dist/cfsmountd-worker.cjs dist/cfsctl-offline.cjs dist/cfsctl-worker.cjs dist/package.json $(LIB)/
	install -d $(LIB)/node_modules/koffi $(LIB)/node_modules/@koromix
	cp -r node_modules/koffi/package.json node_modules/koffi/*.js node_modules/koffi/*.cjs node_modules/koffi/lib $(LIB)/node_modules/koffi/
	cp -r node_modules/@koromix/koffi-linux-* $(LIB)/node_modules/@koromix/
	ln -sf ../lib/cfsmountd/cfsctl $(DESTDIR)$(PREFIX)/bin/cfsctl
	ln -sf ../lib/cfsmountd/cfsmountd $(DESTDIR)$(PREFIX)/sbin/cfsmountd
	install -m 644 systemd/org.composefs.Mount1.conf $(DESTDIR)$(PREFIX)/share/dbus-1/system.d/

vm-test:
	@echo 'make vm-test: the suite on a stock distribution in a VM is not there yet (NEWS.md)' >&2; exit 1

clean:
	rm -rf build dist
