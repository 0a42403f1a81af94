/** Becoming a person by an invitation. */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { hashPassword } from '../passwords/password-hash.ts';
import { checkPassword } from '../passwords/password-policy.ts';
import { emailHashOf, insertPerson, personField, type PasswordDeps } from '../people/people.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import type { Role } from '../schema.ts';
import { openSession, type OpenedSession } from '../sessions/sessions.ts';
import { requireLocalCredentials } from '../single-sign-on/local-credentials.ts';
import { joinTeams } from '../teams/teams.ts';
import { findUsable, openEmails, recordInvitation, unusable } from './invitations.ts';
import { lockInvitation, updateInvitation } from './queries.ts';
import type { AcceptRequest } from './schema.ts';

/**
 * Makes the person, puts them into their teams and signs them in, all in one transaction.
 *
 * @throws HoldfastError `not_found` for a token that cannot be used; `wrong_state` where there are no passwords; `invalid_input` for the name or the password; `conflict` when
 *   somebody got that address meanwhile.
 */
export async function acceptInvitation(
  deps: PersonLifeDeps & PasswordDeps,
  request: AcceptRequest & { userAgent: string | undefined },
  actor: Actor,
): Promise<OpenedSession> {
  const row = await findUsable(deps, request.token);
  await requireLocalCredentials(deps.db, row.role as Role);
  const [email = ''] = await openEmails(deps, [row]);
  const name = checkShownName(request.name);
  await checkPassword(deps, request.password, [name, email]);
  const passwordHash = await hashPassword(request.password);
  const emailHash = await emailHashOf(deps, email);
  const keyId = row.subject_key_id;
  const context = personField('user-name', keyId, row.person_id);
  const [nameSealed] = await deps.sealer.seal([{ keyId, purpose: 'person', context, value: name }]);
  if (nameSealed === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  return writeTransaction(deps.db, async (tx) => {
    const held = await lockInvitation(tx, row.id);
    // Sent again meanwhile, withdrawn, or accepted in another tab.
    if (held?.outcome !== null || !held.token_hash.equals(row.token_hash)) throw unusable();
    const role = held.role as Role;
    const person = { userId: row.person_id, role, subjectKeyId: keyId, nameSealed, emailHash, passwordHash };
    const self = { ...actor, id: row.person_id };
    await updateInvitation(tx, row.id, { ended_at: deps.clock.now(), outcome: 'accepted' });
    await insertPerson(tx, deps, { ...person, emailSealed: row.email_sealed }, self);
    await recordInvitation(tx, deps, self, 'accepted', row.id);
    await joinTeams(tx, deps, row.person_id, held.team_ids, self);
    const proof = { userAgent: request.userAgent, methods: ['password' as const] };
    return openSession(tx, deps, { id: row.person_id, role }, actor, proof);
  });
}
