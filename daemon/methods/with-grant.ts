// Where a rule leaves the last word to polkit: everything is given back before it is asked, and done again when it has granted.
import { RequestError } from '../../core/wire/errors.js';
import { GrantNeeded, type Granted, type Service } from '../service.js';
import type { Caller } from '../transport/peer.js';
import type { Notes } from './notes.js';

/**
 * Runs a mount, and once more if polkit grants what it needs. A person may take minutes: nothing of the first run is held meanwhile, and nothing of what it found is
 * believed afterwards but the grant, which is for one digest and one rule.
 */
export async function withGrant<T>(
  service: Service,
  { caller, payer }: { caller: Caller; payer: number },
  notes: Notes,
  attempt: (granted: Granted | undefined) => Promise<T>,
): Promise<T> {
  try {
    return await attempt(undefined);
  } catch (error) {
    if (!(error instanceof GrantNeeded)) throw error;
    const granted = await grantOrRefuse(error.needed);
    // The policy that was held may not be the one in force any more.
    using _policy = service.hold();
    return await attempt(granted).catch(refuseSecond);
  }

  async function grantOrRefuse(needed: Granted): Promise<Granted> {
    notes.rule = needed.rule;
    using _question = service.questions.begin(payer);
    return await requireGrant(service, caller, notes, needed);
  }
}

async function requireGrant(service: Service, caller: Caller, notes: Notes, needed: Granted): Promise<Granted> {
  const { digest, rule, action } = needed;
  const details = { digest, rule, image: notes.image ?? digest, uid: String(caller.uid) };
  const answer = await service.authorize(caller, { action, details });
  if (answer.verdict === 'granted') return needed;
  const { because, hint, cause } = answer;
  if (cause instanceof Error) service.log.warn({ reason: cause.message, rule }, `polkit: ${because}`);
  throw new RequestError('NotAuthorized', `rule "${rule}" leaves the image to polkit, and ${because}`, { hint });
}

/** The image or the policy has changed under the question. */
function refuseSecond(error: unknown): never {
  if (!(error instanceof GrantNeeded)) throw error;
  throw new RequestError('NotAuthorized', 'what polkit granted is not what the policy asks for now', { hint: 'try again' });
}
