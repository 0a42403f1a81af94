/** Why somebody was not let in by single sign-on. Everybody is told the same; the log says which it was, by the id of the request. */
import { HoldfastError } from '../../lib/errors.ts';

export const REFUSALS = {
  'not-begun': 'This browser began no such sign-in, it took more than ten minutes, or it was finished before',
  'switched-off': 'Single sign-on is switched off, or was changed meanwhile',
  'provider-said-no': 'The provider did not sign the person in',
  'not-exchanged': 'The provider did not take the code it gave, or answered with tokens that do not hold',
  unreachable: 'The provider could not be reached',
  'bad-signature': 'The signature of the ID token does not hold',
  'unknown-account': 'Nobody here is linked with this account of the provider',
  deactivated: 'The account here is deactivated',
  'no-email': 'The provider names no usable e-mail address',
  'email-not-verified': 'The provider says that the e-mail address is not verified',
  'email-taken':
    'Somebody here has this e-mail address and is not linked: they link themselves after signing in another way',
  'groups-left-out': 'The provider left the groups out of its answer, such as when there are too many',
  'no-mapped-group': 'The person is in none of the groups that may come in',
  'linked-elsewhere':
    'This account of the provider is linked with somebody else here, or the person with another account',
  'another-account': 'The proof was given with another account of the provider',
  'not-fresh': 'The provider did not ask the person to sign in again',
  'signed-out-there':
    'The provider signed the person out, or the link was taken away, while they were on the way',
  'not-signed-in': 'The session in which it was begun has ended',
  invitation: 'The invitation cannot be used any more',
} as const;

export type RefusalReason = keyof typeof REFUSALS;

/** Reasons that only somebody whom the provider knows gets to: worth an entry in the audit log. */
const AFTER_PROOF: ReadonlySet<RefusalReason> = new Set([
  ...(['unknown-account', 'deactivated', 'no-email', 'email-not-verified', 'email-taken'] as const),
  ...(['groups-left-out', 'no-mapped-group', 'linked-elsewhere', 'another-account', 'not-fresh'] as const),
  ...(['invitation', 'signed-out-there'] as const),
]);

/** Thrown inside this folder only; `toPublic` makes the error of the product from it. */
export class SingleSignOnRefusal extends Error {
  readonly reason: RefusalReason;
  readonly detail: string | undefined;
  readonly userId: string | undefined;

  /** @param parts what the log says beside it; never a token. `userId`: whom it concerns. */
  constructor(reason: RefusalReason, parts: { detail?: string; userId?: string; cause?: unknown } = {}) {
    super(REFUSALS[reason], { cause: parts.cause });
    this.reason = reason;
    this.detail = parts.detail;
    this.userId = parts.userId;
  }

  get audited(): boolean {
    return AFTER_PROOF.has(this.reason);
  }

  /** What everybody is told. @param code `forbidden` where the person is signed in and stays so. */
  toPublic(code: 'unauthenticated' | 'forbidden'): HoldfastError {
    const more = this.detail === undefined ? '' : ` (${this.detail})`;
    const message =
      code === 'forbidden' ? 'Single sign-on did not confirm it' : 'Single sign-on did not let you in';
    return new HoldfastError(code, message, {
      hint: 'Try again. If it stays, give an owner of this appliance the id below: the log says the reason.',
      detail: `single sign-on: ${this.reason}: ${this.message}${more}`,
      cause: this.cause,
    });
  }
}
