import type { Command } from 'commander';
import type { ConnectOptions } from '../connect.js';
import { type MountClient, connect } from '../mount-client.js';

export interface GlobalOptions {
  readonly address?: string;
  readonly json?: true;
  readonly timeout: number;
}

/** Connects as the options before the command say. Throws `RequestError`. */
export function connectFor(command: Command): MountClient {
  return connect(connectOptionsOf(command));
}

export function connectOptionsOf(command: Command): ConnectOptions {
  const { address, timeout } = command.optsWithGlobals<GlobalOptions>();
  return { address, timeoutMs: timeout * 1000 };
}

export function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<GlobalOptions>().json === true;
}
