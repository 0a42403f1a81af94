/** What people ask of the restored database, each a check of its own in the report: what was expected, and the count or number that came. */
import { randomBytes } from 'node:crypto';
import type { DatabaseAddress } from '../../lib/db.ts';
import { askQuestion } from '../assertions/ask.ts';
import { hashStatement } from '../assertions/assertions.ts';
import { makeConfinedRole } from '../assertions/confine-queries.ts';
import type { AskedAssertion } from '../assertions/schema.ts';
import { need, type Check, type Scene } from '../scene.ts';
import { inDatabase } from './database-checks.ts';

export function assertionChecks(assertions: readonly AskedAssertion[]): Check[] {
  return assertions.map((assertion) => {
    const { id, version, name, sql } = assertion;
    const sqlSha256 = hashStatement(sql);
    return {
      id: `assertion-${id}`,
      label: name,
      assertion: { id, version, sqlSha256 },
      async run(scene) {
        const address = await confinedDatabase(scene);
        const { signal, asked } = scene;
        const answer = await askQuestion(assertion, { address, signal, seconds: asked.seconds });
        const which = `version ${version}, SHA-256 of the statement ${sqlSha256.slice(0, 16)}…`;
        return { ...answer, expected: `${answer.expected} (${which})` };
      },
    };
  });
}

/** The role is made for this test and ends with its scratch; its name cannot have been in the copy. */
async function confinedDatabase(scene: Scene): Promise<DatabaseAddress> {
  if (scene.confined !== undefined) return scene.confined;
  const address = need(scene.database, 'the recovered database');
  if (address.kind !== 'socket') throw new Error('a scratch database is reached by its socket');
  const role = `holdfast_assertions_${randomBytes(8).toString('hex')}`;
  const { database } = address;
  const { seconds } = scene.asked;
  await inDatabase(scene, (client) => makeConfinedRole(client, { role, database, seconds }));
  scene.confined = { ...address, user: role };
  return scene.confined;
}
