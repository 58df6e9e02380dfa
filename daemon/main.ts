#!/usr/bin/env node
import { realpathSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

import { exitNow } from '../core/kernel/exit.js';
import { PolicyError } from '../policy/problem.js';
import { ConfigError, createProgram, readConfig, type Config } from './config.js';
import { openLog, type Log } from './log.js';
import { start, type Running } from './start.js';

const USAGE = 2;
/** Seconds, where a call starts the service again. */
const IDLE_EXIT = 300;

function fail(message: string, status: number): never {
  writeSync(2, `cfsmountd: ${message}\n`);
  exitNow(status);
}

function readConfigOrFail(): Config {
  const program = createProgram().exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : USAGE));
  try {
    return readConfig(program.parse().opts());
  } catch (error) {
    if (error instanceof ConfigError) fail(error.message, 1);
    throw error;
  }
}

function exitWhenIdle(running: Running, seconds: number, end: (reason: string) => void): void {
  if (seconds === 0) return;
  const timer = setInterval(
    () => {
      if (running.isIdle(seconds * 1000)) end('idle');
    },
    Math.max(250, (seconds * 1000) / 10),
  );
  timer.unref();
}

async function run(config: Config, log: Log): Promise<void> {
  let running: Running | undefined;
  let ending = false;
  let reloadAsked = false;
  const end = (reason: string): void => {
    if (ending) return;
    ending = true;
    log.info({ reason }, 'stopping');
    if (!running) exitNow(0); // no call was answered yet; a socket left behind is replaced
    running.stop().then(
      () => exitNow(0),
      (error: unknown) => fail(String(error), 1),
    );
  };
  // Before anybody hears that we are ready: a signal without a handler ends the process, SIGHUP too.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end(signal));
  process.on('SIGHUP', () => (running ? running.reload() : (reloadAsked = true)));
  running = await start(config, dirname(realpathSync(process.argv[1]!)), log);
  if (reloadAsked) running.reload();
  exitWhenIdle(running, config.idleExit ?? (running.isActivated ? IDLE_EXIT : 0), end);
}

function main(): void {
  const config = readConfigOrFail();
  if (process.getuid?.() !== 0)
    fail('must run as root: mounting for others takes CAP_SYS_ADMIN in the initial user namespace', 1);
  process.umask(0o077);
  const log = openLog();
  // A bug must not leave a half-working service: the service manager starts a new one, and live mounts go on meanwhile.
  const crash = (error: unknown): void => {
    log.fatal({ err: error }, 'internal error, ending');
    exitNow(1);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  run(config, log).catch((error: unknown) => {
    if (error instanceof PolicyError) fail(`the policy is broken, so nothing may be mounted:\n${error.message}`, 1);
    fail(error instanceof Error ? error.message : String(error), 1);
  });
}

main();
