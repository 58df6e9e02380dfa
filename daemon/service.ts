// Everything a method needs, in one place. Made by main.ts, taken apart in reverse order.
import { decide, findTrust, usefulAlgorithms, type Allow, type Deny, type Trust } from '../policy/decide.js';
import type { JudgedImage, KnownImage } from '../policy/policy.js';
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
import { judgedCaller } from './judged-caller.js';
import type { MountsInMaking } from './making.js';
import type { Measurer } from './measure.js';
import type { Authorize } from './polkit.js';
import type { Parking } from './parking.js';
import type { LoadedPolicy } from './policy-files.js';
import type { Questions } from './questions.js';
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
  /** Asks polkit. */
  readonly authorize: Authorize;
  readonly questions: Questions;
  /** Reads the policy again. Throws PolicyError, and the old one stays. */
  reload(): void;
}

function notTrusted({ because, hint }: Deny): RequestError {
  return new RequestError('NotTrusted', because, { hint });
}

/** An image that some rule trusts for the caller, or the RequestError NotTrusted that says whom to ask. Allows nothing yet. */
export function requireTrusted(service: Service, image: KnownImage, caller: Caller): Trust {
  const loaded = service.current();
  const trust = findTrust(loaded.policy, image, judgedCaller(loaded, caller), Date.now());
  if (trust.verdict === 'deny') throw notTrusted(trust);
  return trust;
}

/** What polkit granted the caller of a request: this action, for this image, as this rule wants it. */
export interface Granted {
  readonly digest: VerityDigest;
  readonly rule: string;
  readonly action: string;
}

/** Who wants a mount, in whose namespace, and what polkit said to it. */
export interface Asking {
  readonly caller: Caller;
  readonly payer: number;
  readonly granted: Granted | undefined;
}

/** A decision that allowed, or the RequestError that tells the caller why not and whom to ask. Throws GrantNeeded if that is polkit. */
export function requireAllowed(service: Service, image: JudgedImage, { caller, payer, granted }: Asking): Allow {
  const loaded = service.current();
  const decision = decide(loaded.policy, image, judgedCaller(loaded, caller, payer), Date.now());
  if (decision.verdict === 'deny') throw notTrusted(decision);
  if (decision.verdict === 'allow') return decision;
  const { digest } = image;
  const { rule, action } = decision;
  if (granted?.digest !== digest || granted.rule !== rule || granted.action !== action)
    throw new GrantNeeded({ digest, rule, action });
  return { ...decision, verdict: 'allow' };
}

/** Allowed as soon as polkit grants it. Never leaves the daemon: `withGrant` asks. */
export class GrantNeeded extends Error {
  override readonly name = 'GrantNeeded';
  readonly needed: Granted;

  constructor(needed: Granted) {
    super(`polkit has to grant ${needed.action}`);
    this.needed = needed;
  }
}

/**
 * The hash algorithms that could lead to a trusted digest, the likelier first. Refuses a caller for whom no rule could allow anything, before any work is done for
 * it. `byName`: the service looks the image up itself.
 */
export function requireAnyRule(service: Service, caller: Caller, byName: boolean): readonly VerityAlgorithm[] {
  const algorithms = usefulAlgorithms(service.current().policy, caller, Date.now(), byName);
  if (algorithms.length > 0) return algorithms;
  throw new RequestError('NotTrusted', `no image is trusted for uid ${caller.uid}`, {
    hint: 'ask the administrator for a rule in policy.d that names the digest of the image and your user or group',
  });
}

/** Those of the algorithms to try: the one of the digest that the caller expects, if it says which. */
export function algorithmsToTry(useful: readonly VerityAlgorithm[], { digest }: ImageOptions): readonly VerityAlgorithm[] {
  return digest === undefined ? useful : [digestAlgorithm(digest)];
}

export function requireExpectedDigest(actual: VerityDigest, { digest: expected }: ImageOptions): void {
  if (expected === undefined || expected === actual) return;
  throw new RequestError('BadImage', `the image has the digest ${actual}, not the expected ${expected}`);
}
