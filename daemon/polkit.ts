// Asks polkit whether a caller may do what a rule leaves to it. Whatever goes wrong is a refusal.
import { describeSubject, Refusal } from './polkit-subject.js';
import { type BusConnection, BusError, NoReplyError } from './transport/bus-connection.js';
import type { Caller } from './transport/peer.js';

/** What is asked, and what is said about it to whoever answers: a rule of polkit's or a person. */
export interface Question {
  readonly action: string;
  readonly details: Readonly<Record<string, string>>;
}

export type Answer =
  | { readonly verdict: 'granted' }
  | {
      readonly verdict: 'refused';
      /** For the caller, as a clause in which polkit is `it`; on one line. */
      readonly because: string;
      readonly hint: string;
      /** For the journal. */
      readonly cause?: unknown;
    };

/** Never rejects. A grant is for this moment and this caller, who is still there. */
export type Authorize = (caller: Caller, question: Question) => Promise<Answer>;

// How long polkit may take, in milliseconds: by itself, and when it asks a person.
const PATIENCE = 20_000;
const PATIENCE_WITH_PERSON = 120_000;

const POLKIT = 'org.freedesktop.PolicyKit1';
const AUTHORITY = { path: '/org/freedesktop/PolicyKit1/Authority', interface: 'org.freedesktop.PolicyKit1.Authority' };
const ALLOW_USER_INTERACTION = 1; // polkit, CheckAuthorizationFlags
const NO_OWNER = 'org.freedesktop.DBus.Error.NameHasNoOwner';
const NO_SERVICE = /^org\.freedesktop\.(DBus\.Error\.(ServiceUnknown|Spawn\..+)|systemd1\..+)$/;

/** `bus` is the system bus, undefined where there is none. */
export function createAuthority(bus: BusConnection | undefined): Authorize {
  let asked = 0;
  return async (caller, question) => {
    try {
      if (bus === undefined) throw new Refusal('there is no system bus', 'ask the administrator to install polkit');
      await ask(bus, caller, { ...question, cancellationId: `cfsmountd ${(asked += 1)}` });
      return { verdict: 'granted' };
    } catch (error) {
      const { message: because, hint, cause } = error instanceof Refusal ? error : failed(error);
      return { verdict: 'refused', because, hint, cause };
    }
  };
}

function failed(cause: unknown): Refusal {
  return new Refusal('it could not be asked', "the service's log says more", cause);
}

/** The id is by what a question is taken back. */
type NumberedQuestion = Question & { readonly cancellationId: string };

async function ask(bus: BusConnection, caller: Caller, question: NumberedQuestion): Promise<void> {
  const polkit = await findPolkit(bus);
  const left = new AbortController();
  // From here to the end: an answer about somebody who has left is an answer about whoever has the pid or the name next (CVE-2019-6133, CVE-2021-3560).
  using _watch = await caller.watchGone(() => left.abort());
  requirePresent(caller, left.signal);
  try {
    const [result] = await checkAuthorization(bus, polkit, caller, question, left.signal);
    requirePresent(caller, left.signal);
    requireAuthorized(result, caller);
  } catch (error) {
    if (!(error instanceof NoReplyError)) throw error;
    cancel(bus, polkit, question);
    requirePresent(caller, left.signal);
    const hint = 'try again, or ask the administrator to look at polkit';
    throw new Refusal(`it did not answer within ${patienceFor(caller) / 1000} s`, hint, error);
  }
}

const patienceFor = ({ mayInteract }: Caller): number => (mayInteract ? PATIENCE_WITH_PERSON : PATIENCE);

function checkAuthorization(
  bus: BusConnection,
  polkit: string,
  caller: Caller,
  { action, details, cancellationId }: NumberedQuestion,
  signal: AbortSignal,
): Promise<readonly unknown[]> {
  const { subject, fds } = describeSubject(caller);
  const flags = caller.mayInteract ? ALLOW_USER_INTERACTION : 0;
  const body = [subject, action, Object.entries(details), flags, cancellationId];
  const call = { ...AUTHORITY, destination: polkit, member: 'CheckAuthorization', signature: '(sa{sv})sa{ss}us', body, fds };
  return bus.call({ ...call, timeout: patienceFor(caller), signal });
}

/** The dialog goes away, too. Nobody waits for what polkit says to this. */
function cancel(bus: BusConnection, polkit: string, { cancellationId }: NumberedQuestion): void {
  const call = { ...AUTHORITY, destination: polkit, member: 'CancelCheckAuthorization', signature: 's', body: [cancellationId] };
  bus.call({ ...call, timeout: PATIENCE }).catch(() => undefined);
}

function requirePresent(caller: Caller, left: AbortSignal): void {
  if (left.aborted || caller.isGone())
    throw new Refusal('the caller left before it had answered', 'stay connected until the answer');
}

/** The unique name of polkitd, which is started if need be: only this very process is believed. */
async function findPolkit(bus: BusConnection): Promise<string> {
  try {
    return await ownerOf(bus, POLKIT);
  } catch (error) {
    if (!(error instanceof BusError) || error.errorName !== NO_OWNER) throw error;
  }
  try {
    await bus.callDriver('StartServiceByName', 'su', [POLKIT, 0]);
    return await ownerOf(bus, POLKIT);
  } catch (error) {
    if (!(error instanceof BusError) || !(NO_SERVICE.test(error.errorName) || error.errorName === NO_OWNER)) throw error;
    throw new Refusal('there is none on this host', 'ask the administrator to install polkit', error);
  }
}

async function ownerOf(bus: BusConnection, name: string): Promise<string> {
  const [owner] = await bus.callDriver('GetNameOwner', 's', [name]);
  return String(owner);
}

/** `(bba{ss})`: authorised, could be after authentication, details. */
function requireAuthorized(result: unknown, { mayInteract }: Caller): void {
  const [authorized, challenge] = Array.isArray(result) ? (result as unknown[]) : [];
  if (authorized === true) return;
  if (challenge === true && !mayInteract)
    throw new Refusal(
      'it would ask for a password, and this call does not allow that',
      'set ALLOW_INTERACTIVE_AUTHORIZATION in the call',
    );
  if (challenge === true) throw new Refusal('nobody gave it a password', 'run an agent of polkit, as desktops and pkttyagent do');
  throw new Refusal('it says no', "ask the administrator for a rule of polkit's that says yes");
}
