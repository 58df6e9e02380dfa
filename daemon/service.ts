// Everything a method needs, in one place. Made by main.ts, taken apart in reverse order.
import { allows, decide, findTrust, type Allow, type Deny, type Trust } from '../policy/decide.js';
import type { Contents } from '../policy/policy.js';
import type { VerityAlgorithm, VerityDigest } from '../core/image/digest.js';
import { digestAlgorithm } from '../core/image/digest.js';
import { RequestError } from '../core/wire/errors.js';
import type { ImageOptions } from '../core/wire/requests.js';
import type { Accounts } from './accounts.js';
import type { Copies } from './copies.js';
import type { FactsFinder } from './facts.js';
import type { Feature } from './features.js';
import type { KeptSuperblocks } from './kept-superblocks.js';
import type { Log } from './log.js';
import type { MountsInMaking } from './making.js';
import type { Measurer } from './measure.js';
import type { Parking } from './parking.js';
import type { LoadedPolicy } from './policy-files.js';
import type { Caller } from './transport/peer.js';
import type { WorkerPool } from './worker/pool.js';

export interface Service {
  readonly log: Log;
  readonly features: ReadonlySet<Feature>;
  readonly workers: WorkerPool;
  readonly parking: Parking;
  readonly copies: Copies;
  readonly measurer: Measurer;
  readonly facts: FactsFinder;
  readonly kept: KeptSuperblocks;
  readonly accounts: Accounts;
  readonly inMaking: MountsInMaking;
  /** The policy in force; replaced as a whole by a reload. */
  current(): LoadedPolicy;
  /** Keeps the policy's repositories open until disposed. */
  hold(): Disposable;
  /** Reads the policy again. Throws PolicyError, and the old one stays. */
  reload(): void;
}

/** An image as the policy judges it. */
export interface JudgedImage {
  readonly digest: VerityDigest;
  readonly contents: Contents;
}

function notTrusted({ because, hint }: Deny): RequestError {
  return new RequestError('NotTrusted', because, { hint });
}

/** A digest that some rule names for the caller, or the RequestError NotTrusted that says whom to ask. Allows nothing yet. */
export function requireTrusted(service: Service, digest: VerityDigest, caller: Caller): Trust {
  const trust = findTrust(service.current().policy, digest, caller);
  if (trust.verdict === 'deny') throw notTrusted(trust);
  return trust;
}

/** A decision that allowed, or the RequestError NotTrusted that tells the caller why not and whom to ask. */
export function requireAllowed(service: Service, image: JudgedImage, caller: Caller): Allow {
  const decision = decide(service.current().policy, image, caller);
  if (decision.verdict === 'deny') throw notTrusted(decision);
  return decision;
}

/** Refuses a caller for whom no rule could allow anything, before any work is done for it. */
export function requireAnyRule(service: Service, caller: Caller): readonly VerityDigest[] {
  const digests = allows(service.current().policy, caller);
  if (digests.length > 0) return digests;
  throw new RequestError('NotTrusted', `no image is trusted for uid ${caller.uid}`, {
    hint: 'ask the administrator for a rule in policy.d that names the digest of the image and your user or group',
  });
}

/** The hash algorithms that could lead to an allowed digest, the likelier first. */
export function usefulAlgorithms(allowed: readonly VerityDigest[], { digest }: ImageOptions): VerityAlgorithm[] {
  if (digest !== undefined) return [digestAlgorithm(digest)];
  return [...new Set(allowed.map(digestAlgorithm))].sort();
}

export function requireExpectedDigest(actual: VerityDigest, { digest: expected }: ImageOptions): void {
  if (expected === undefined || expected === actual) return;
  throw new RequestError('BadImage', `the image has the digest ${actual}, not the expected ${expected}`);
}
