/** Shows each judge something weak. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { attackContent } from './ffuf.ts';
import { attackSignIn } from './hydra.ts';
import type { Certificates } from './place.ts';
import type { AttackName } from './report.ts';
import { attackSlowly, MODES } from './slowhttptest.ts';
import { attackQueries } from './sqlmap.ts';
import { attackTls } from './testssl.ts';
import type { Outcome } from './verdict.ts';
import { startOldTls, startWeakServer, WEAK_PAGE, WEAK_PASSWORD, type WeakTarget } from './weak.ts';

export interface Proof {
  weakness: string;
  /** What the judge said of it; null: it was not found. */
  said: string | null;
}

interface Weakness {
  what: string;
  /** In what the judge says. */
  sign: RegExp;
  attack: (weak: WeakTarget, folder: string, certificates: Certificates) => Promise<Outcome>;
}

const WEAKNESSES: Record<AttackName, Weakness[]> = {
  testssl: [
    {
      what: 'a port that speaks TLS 1.0',
      sign: /TLS1:/,
      attack: async ({ authorityFile }, folder, certificates) => {
        const old = await startOldTls(certificates);
        try {
          return await attackTls({ port: old.port, authorityFile }, folder, ['-p']);
        } finally {
          await old.close();
        }
      },
    },
  ],
  ffuf: [
    { what: 'a backup that lies below the root', sign: /backup\.zip answers 200/, attack: lookForFiles },
    { what: 'an address that answers 500', sign: /broken answers 500/, attack: lookForFiles },
  ],
  hydra: [
    {
      what: 'a sign-in that lets everybody guess',
      sign: /got in/,
      attack: (weak, folder) =>
        attackSignIn(weak, folder, { email: 'ada@example.org', password: WEAK_PASSWORD }, [
          'bob@example.org',
        ]),
    },
  ],
  slowhttptest: [
    {
      what: 'sixty connections, and none is ever closed',
      sign: /got no answer/,
      attack: (weak, folder) =>
        attackSlowly(weak, folder, { paths: ['/'] }, { modes: MODES.slice(0, 1), seconds: 15 }),
    },
  ],
  sqlmap: [
    {
      what: 'a parameter that becomes part of the SQL',
      sign: /injectable: /,
      attack: (weak, folder) => {
        const request = {
          method: 'GET',
          route: '/items',
          url: '/items?id=1',
          body: undefined,
          parameters: 1,
        };
        return attackQueries(weak, folder, [request], { who: 'nobody at all', network: '127.0.6.' });
      },
    },
  ],
};

export async function proveJudges(
  names: readonly AttackName[],
  certificates: Certificates,
  folder: string,
  say: (text: string) => void,
): Promise<Record<AttackName, Proof[]>> {
  const proofs: Record<AttackName, Proof[]> = {
    testssl: [],
    ffuf: [],
    hydra: [],
    slowhttptest: [],
    sqlmap: [],
  };
  const place = join(folder, 'weak');
  mkdirSync(place);
  for (const name of names)
    for (const { what, sign, attack } of WEAKNESSES[name]) {
      const weak = await startWeakServer(certificates);
      try {
        const { findings } = await attack(weak, place, certificates);
        const said = findings.find((finding) => sign.test(finding));
        proofs[name].push({ weakness: what, said: said ?? null });
        say(`${said === undefined ? 'NOT FOUND' : 'found, as it must be'}: ${what}`);
      } finally {
        await weak.close();
      }
    }
  return proofs;
}

function lookForFiles(weak: WeakTarget, folder: string): Promise<Outcome> {
  const meant = { pageBytes: WEAK_PAGE.length, paths: new Set<string>() };
  return attackContent(weak, folder, meant, { words: ['backup.zip', 'broken', 'nothing'], bases: [''] });
}
