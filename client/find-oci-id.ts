import { readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** The id of the container image that a name in a repository was given to; undefined if it was given to none, or that cannot be read here. */
export function findOciId({ name, repository }: { readonly name: string; readonly repository: string }): string | undefined {
  try {
    const [, id] = /^(?:\.\.\/)+([0-9a-f]{64})$/.exec(readlinkSync(join(repository, 'oci/refs', name))) ?? [];
    return id;
  } catch {
    return undefined;
  }
}
