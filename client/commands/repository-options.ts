import type { Command } from 'commander';
import { DEFAULT_REPOSITORY } from '../repository/defaults.js';
import type { GlobalOptions } from './globals.js';

/** Which repository a command works in. */
export function addRepositoryOption(command: Command): Command {
  return command.option('--repo <dir>', 'the repository', DEFAULT_REPOSITORY);
}

/** What all commands that work in a repository are told. */
export function repositoryOptionsOf(command: Command): { repo: string; timeoutMs: number; json: boolean } {
  const { repo, timeout, json } = command.optsWithGlobals<GlobalOptions & { readonly repo: string }>();
  return { repo, timeoutMs: timeout * 1000, json: json === true };
}
