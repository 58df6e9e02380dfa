// Keeps the store that podman reads in step with the repository.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import type { Repository } from '../repository/repository.js';
import { type LeftOut, exportStore } from './export-store.js';
import { rememberedStore } from './remembered-store.js';

/**
 * Brings the store up to date that was made of this repository, if there is one; returns what is not in it. Throws `RequestError`, which says that what was done in
 * the repository is done.
 */
export function updateStore(repository: Repository, timeoutMs: number): readonly LeftOut[] {
  const store = rememberedStore(repository.root);
  if (store === undefined || !existsSync(join(store, 'overlay-images'))) return [];
  try {
    return exportStore(repository, { store, timeoutMs }).leftOut;
  } catch (cause) {
    const because = cause instanceof Error ? cause.message : String(cause);
    throw new RequestError('Failed', `it is done, but the store for podman could not follow: ${because}`, {
      hint: `cfsctl podman export-store --repo ${repository.path} ${store}`,
      cause,
    });
  }
}
