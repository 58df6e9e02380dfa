// Platforms as containers name them: linux/amd64, linux/arm64/v8.
import { RequestError } from '../../../core/wire/errors.js';
import type { OciPlatform } from './blobs.js';

const PART = /^[A-Za-z0-9_.-]{1,64}$/;

/** Throws `RequestError` BadRequest. */
export function parsePlatform(text: string): OciPlatform {
  const [os = '', architecture = '', variant, ...rest] = text.split('/');
  if (rest.length === 0 && [os, architecture, variant ?? 'none'].every((part) => PART.test(part)))
    return { os, architecture, ...(variant === undefined ? {} : { variant }) };
  throw new RequestError('BadRequest', 'a platform is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT', {
    hint: 'for example linux/amd64 or linux/arm64/v8',
  });
}

export function formatPlatform({ os, architecture, variant }: OciPlatform): string {
  const parts = variant === undefined || variant === '' ? [os, architecture] : [os, architecture, variant];
  return parts.map((part) => (PART.test(part) ? part : '?')).join('/');
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm: 'arm',
  arm64: 'arm64',
  ia32: '386',
  ppc64: 'ppc64le',
};

/** Of this machine. */
export function ownPlatform(): OciPlatform {
  return { os: 'linux', architecture: ARCHITECTURES[process.arch] ?? process.arch };
}

/** What is meant where no variant is said (containerd, platforms.Normalize). */
const DEFAULT_VARIANT: Readonly<Record<string, string>> = { arm64: 'v8', arm: 'v7' };

/** True if what is there is what is wanted; a variant counts where one is wanted. */
export function matchesPlatform(there: OciPlatform, wanted: OciPlatform): boolean {
  if (there.os !== wanted.os || there.architecture !== wanted.architecture) return false;
  const usual = DEFAULT_VARIANT[there.architecture] ?? '';
  return (wanted.variant ?? '') === '' || (there.variant || usual) === wanted.variant;
}
