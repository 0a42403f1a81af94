/** Who is here, what stage the appliance is in, and what a role may see. The server decides; this only spares useless requests. */
import { acceptInvitation } from './api/people.ts';
import { claim, getSession, getSetup, signOut } from './api/appliance.ts';
import { signIn, type SecondStep } from './api/sign-in.ts';
import { ApiError, asApiError, whenRestricted, whenSignedOut } from './api/client.ts';
import { navigate } from './lib/router.svelte.ts';
import type { Right, Role, Session, SetupState } from './api/shapes.ts';

export interface ExpectedEnd {
  /** Said at the sign-in page. */
  notice: string;
  /** Where the person is after signing in. */
  at: string;
}

type Phase = 'loading' | 'unreachable' | 'unclaimed' | 'signed-out' | 'signed-in';

let phase = $state<Phase>('loading');
let current = $state.raw<Session>();
let setup = $state.raw<SetupState>();
let failure = $state.raw<ApiError>();
let notice = $state('');
/** The session is about to end by an act of the person's own. */
let expected: ExpectedEnd | undefined;

function signedIn(session: Session): void {
  current = session;
  notice = '';
  phase = 'signed-in';
}

function signedOut(reason: string): void {
  current = undefined;
  notice = reason;
  phase = 'signed-out';
}

/** Why the server says that there is no session, when it knows. */
function reasonOf(error: ApiError, otherwise: string): string {
  return error.code === 'session_ended' ? `${error.message}. ${error.hint ?? ''}` : otherwise;
}

const ENDED = 'Your session has ended. Sign in to go on where you were.';

whenSignedOut((error) => {
  if (phase !== 'signed-in') return;
  if (expected) navigate(expected.at, { replace: true });
  signedOut(expected?.notice ?? reasonOf(error, ENDED));
  expected = undefined;
});

whenRestricted(() => {
  if (phase === 'signed-in' && current?.restricted === false) current = { ...current, restricted: true };
});

export const session = {
  get phase(): Phase {
    return phase;
  },
  get current(): Session | undefined {
    return current;
  },
  get setup(): SetupState | undefined {
    return setup;
  },
  get failure(): ApiError | undefined {
    return failure;
  },
  /** Why the sign-in page is shown, when there is a reason. */
  get notice(): string {
    return notice;
  },
  /** True when the person has one of the roles. */
  is(...roles: Role[]): boolean {
    return current !== undefined && roles.includes(current.user.role);
  },
  /** True when the person's role has the right. */
  may(right: Right): boolean {
    return current?.rights.includes(right) === true;
  },
  get administrator(): boolean {
    return session.is('owner', 'admin');
  },
  /** A second factor is missing that the person must have: nothing but adding one is open. */
  get restricted(): boolean {
    return current?.restricted === true;
  },
  /** May read snapshots, tests, targets and the rest of operations. */
  get operations(): boolean {
    return session.is('owner', 'admin', 'auditor');
  },

  /** Items of an access review wait for this person. */
  get reviews(): boolean {
    return current?.banners.some((banner) => banner.kind === 'access-review') === true;
  },
  /** Holdfast runs on its own machine image. */
  get machine(): boolean {
    return setup?.machine !== undefined;
  },

  async start(): Promise<void> {
    phase = 'loading';
    try {
      setup = await getSetup();
      if (!setup.claimed) {
        phase = 'unclaimed';
        return;
      }
      signedIn(await getSession());
      setup = await getSetup();
    } catch (error) {
      failure = asApiError(error);
      if (failure.status === 401) signedOut(reasonOf(failure, ''));
      else phase = 'unreachable';
    }
  },
  /** What is said when the session ends, which an act of the person brings about; undefined: as ever. */
  expectEnd(end: ExpectedEnd | undefined): void {
    expected = end;
  },
  /** Reads the banners and the steps of the first run again, after an act that may change them. @param active Somebody is there. */
  async refresh({ active = false } = {}): Promise<void> {
    try {
      [current, setup] = await Promise.all([getSession(active), getSetup()]);
    } catch (error) {
      const known = asApiError(error);
      if (known.status === 401) signedOut(reasonOf(known, ENDED));
    }
  },
  async claim(request: Parameters<typeof claim>[0]): Promise<void> {
    signedIn(await claim(request));
    setup = await getSetup();
  },
  async acceptInvitation(request: Parameters<typeof acceptInvitation>[0]): Promise<void> {
    signedIn(await acceptInvitation(request));
    setup = await getSetup();
  },
  /** @returns what is asked for beside the password; undefined when the person is signed in. */
  async signIn(email: string, password: string): Promise<SecondStep | undefined> {
    const answer = await signIn({ email, password });
    if ('ways' in answer) return answer;
    session.enter(answer);
    return undefined;
  },
  /** Goes on with a session that was opened. */
  enter(opened: Session): void {
    signedIn(opened);
    void getSetup().then(
      (state) => (setup = state),
      () => undefined,
    );
  },
  async signOut(reason = 'You have signed out.'): Promise<void> {
    try {
      await signOut();
    } catch (error) {
      // Gone already is signed out too. What did not arrive is not: the cookie is still here.
      if (asApiError(error).status !== 401)
        reason =
          'The appliance did not answer: this browser may still be signed in. Load the page again, and sign out once more.';
    }
    signedOut(reason);
  },
};
