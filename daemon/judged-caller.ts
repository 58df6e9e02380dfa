// A caller as the policy judges it.
import type { Caller as JudgedCaller } from '../policy/policy.js';
import type { LoadedPolicy } from './policy-files.js';
import type { Caller } from './transport/peer.js';

/**
 * `payer` is the user behind it, of whom the caller may be a subordinate id. Groups are those the process has, which count for rules that allow; for rules that deny
 * also those the host says it is in, as a process can shed them. They are looked up when a rule asks.
 */
export function judgedCaller(loaded: LoadedPolicy, caller: Caller, payer = caller.payer): JudgedCaller {
  return {
    uid: caller.uid,
    get gids() {
      return caller.gids;
    },
    behind: {
      uid: payer,
      get gids() {
        return [...new Set([caller.uid, payer])].flatMap((uid) => loaded.groupsOf(uid));
      },
    },
  };
}
