/** Another administrator of an appliance, who approves or refuses from elsewhere what the browser under test asks for. */
import { callerOf, expectStatus, type ServedAppliance } from '../helpers/served-appliance.ts';
import { originOf, signInAs } from '../helpers/sign-in.ts';

export const ADMIN = {
  name: 'Grace Hopper',
  email: 'grace@example.org',
  password: 'seven lanterns by 3 wells',
};

type Caller = Pick<ServedAppliance, 'call' | 'url'>;

/** Invites them as the owner, and adds their second factor. */
export async function addAdministrator(owner: Caller): Promise<void> {
  const invitation = { email: ADMIN.email, role: 'admin', teamIds: [] };
  const { link } = await expectStatus(owner.call<{ link: string }>('POST', '/invitations', invitation), 201);
  const accepted = { token: link.split('#')[1] ?? '', name: ADMIN.name, password: ADMIN.password };
  await expectStatus(callerOf(owner.url).call('POST', '/invitations/accept', accepted), 201);
  await signedIn(owner.url);
}

/** Decides the one request that waits. */
export async function decideAsAdministrator(url: string, refusal?: string): Promise<void> {
  const admin = await signedIn(url);
  type Listed = { items: { id: string }[] };
  const { items } = await expectStatus(admin.call<Listed>('GET', '/approvals'), 200);
  const [only, second] = items;
  if (only === undefined || second !== undefined)
    throw new Error(`expected one request, found ${items.length}`);
  const decision =
    refusal === undefined
      ? admin.call('POST', `/approvals/${only.id}/approve`)
      : admin.call('POST', `/approvals/${only.id}/refuse`, { reason: refusal });
  await expectStatus(decision, 204);
}

async function signedIn(url: string): Promise<Caller> {
  const admin = callerOf(url);
  await signInAs(admin.call, originOf(url), ADMIN);
  return admin;
}
