/** The mail of an appliance in a test, at a real mail server: what it sent to whom, and the links in it. */
import { sendNext } from '../../server/mail/index.ts';
import { sendDeps } from '../../server/send-deps.ts';
import { answerAsks } from '../../server/identity/index.ts';
import { magicLinkRule } from '../../server/workspaces/index.ts';
import { waitFor } from './wait-for.ts';
import { expectStatus, ORIGIN, type TestAppliance, type TestCaller } from './appliance.ts';
import { MAIL_USER, makeAuthority, partOf, startMailServer, type TakenMail } from './mail-server.ts';

export interface Mailbox {
  /** Everything that was asked for is answered and sent. @returns what came since the last time, the newest last. */
  collect(): Promise<TakenMail[]>;
  /** The token of the newest link in what came since the last time; undefined: none came. */
  tokenTo(email: string): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Sets the mail server up as the owner does. */
export async function startMailbox(appliance: TestAppliance, owner: TestCaller): Promise<Mailbox> {
  const authority = await makeAuthority();
  const server = await startMailServer(authority);
  // `inject` has no certificate that could vouch for the name.
  (appliance.deps.origins as string[]).push(ORIGIN);
  await expectStatus(
    owner.call('PUT', '/settings/mail', {
      ...{ host: 'localhost', port: server.port, security: 'implicit', leastTls: '1.3' },
      ...{ caCertificates: authority.certificate, ...MAIL_USER, messagesAMinute: 600, paused: false },
      ...{ senderName: 'Holdfast', senderAddress: 'holdfast@example.org' },
    }),
    200,
  );
  const deps = sendDeps(appliance.deps);
  let read = 0;
  const collect = async () => {
    await waitFor('what was asked for to be answered', async () => {
      // The route's own look may hold one of them.
      await answerAsks({ ...appliance.deps, ...magicLinkRule(appliance.deps) });
      const left = await appliance.deps.db.selectFrom('mail_link_asks').select('id').execute();
      return left.length === 0 ? true : undefined;
    });
    while (await sendNext(deps));
    const fresh = server.taken.slice(read);
    read = server.taken.length;
    return fresh;
  };
  return {
    collect,
    async tokenTo(email) {
      const mail = (await collect()).filter(({ to }) => to.includes(email));
      return mail.flatMap((one) => /#([\w-]{43})\s/.exec(partOf(one, 'text/plain'))?.[1] ?? []).at(-1);
    },
    close: () => server.close(),
  };
}
