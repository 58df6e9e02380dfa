// The policy read again: because a caller says so, for a signal, or because a file changed. Each leaves one audit line, and one for each live mount no longer trusted.
import type { Accounts } from './accounts.js';
import { audit, type Log } from './log.js';
import type { PolicyHolder } from './policy-holder.js';
import type { PolicyWatch } from './policy-watch.js';
import { findUntrusted } from './revocation.js';

export interface Reloading {
  /** Names the mounts of an earlier start that are trusted no more. */
  noteStart(): void;
  /** Throws PolicyError or what else stood in the way, and the old policy stays. */
  reload(): void;
  /** The same where nobody waits for an answer: it goes to the log. */
  reloadFor(cause: 'SIGHUP' | 'file watch'): void;
}

interface Parts {
  readonly log: Log;
  readonly policy: PolicyHolder;
  readonly accounts: Accounts;
  readonly watch: PolicyWatch | undefined;
  /** Forgets what was kept under the old policy. */
  readonly forget: () => void;
}

export function createReloading({ log, policy, accounts, watch, forget }: Parts): Reloading {
  /** Mounts that were named already. */
  let named: ReadonlySet<bigint> = new Set();

  function nameUntrusted(method: 'Reload' | 'Start'): void {
    const untrusted = findUntrusted(policy.current(), accounts.list(), Date.now());
    for (const { id, uid, digest, rule } of untrusted) {
      if (named.has(id)) continue;
      const reason = 'no rule trusts the digest for this user any more; the mount goes on';
      audit(log, { uid, method, verdict: 'revoked', digest, rule, mount: id, reason });
    }
    named = new Set(untrusted.map(({ id }) => id));
  }

  /** The policy is in force whatever comes of this. */
  function nameOrSay(method: 'Reload' | 'Start'): void {
    try {
      nameUntrusted(method);
    } catch (error) {
      log.error({ err: error }, 'live mounts that are trusted no more cannot be told');
    }
  }

  function reload(): void {
    watch?.noteRead();
    policy.reload();
    forget();
    nameOrSay('Reload');
  }

  return {
    noteStart: () => nameOrSay('Start'),
    reload,
    reloadFor(cause) {
      const line = { audit: true, uid: 0, method: cause };
      try {
        reload();
        log.info({ ...line, verdict: 'allow', rules: policy.current().policy.rules.length }, 'policy read again');
      } catch (error) {
        const reason = String(error instanceof Error ? error.message : error);
        log.error({ ...line, verdict: 'deny', error: 'Failed', reason }, 'policy not replaced, the old one stays');
      }
    },
  };
}
