import type { Command } from 'commander';
import { type MountClient, connect } from '../mount-client.js';

export interface GlobalOptions {
  readonly address?: string;
  readonly json?: true;
  readonly timeout: number;
}

/** Connects as the options before the command say. Throws `RequestError`. */
export function connectFor(command: Command): MountClient {
  const { address, timeout } = command.optsWithGlobals<GlobalOptions>();
  return connect({ address, timeoutMs: timeout * 1000 });
}

export function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<GlobalOptions>().json === true;
}
