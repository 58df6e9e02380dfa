import type { VerityDigest } from '../../core/image/digest.js';
import { formatJson } from '../output.js';
import { DEFAULT_REPOSITORIES } from './defaults.js';

export interface TrustedImage {
  readonly digest: VerityDigest;
  /** In the form that requireImageName takes, so it needs no quoting. */
  readonly name: string;
  /** Absolute path of the repository. */
  readonly repository: string;
  /** True if only root can write there. */
  readonly rootOnly: boolean;
}

/** What an administrator puts into a policy file for an image to be mounted by name. */
export function formatPolicy({ digest, name, repository, rootOnly }: TrustedImage): string {
  const section = `[[repository]]\npath = ${formatJson(repository).trimEnd()}\nobjects = "${rootOnly ? 'trusted' : 'verity'}"\n\n`;
  const rule = `[[rule]]\nname = "${name}"\ndigests = ["${digest}"]\nusers = ["NAME"]    # names or ids; with neither users nor groups: everyone\n`;
  return (DEFAULT_REPOSITORIES.includes(repository) ? '' : section) + rule;
}
