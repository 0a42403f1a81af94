/** Wrong passwords without end, and what others notice of it. */
import { request, Agent } from 'node:https';
import {
  makeFolder,
  OWNER,
  removeFolder,
  serveAppliance,
  takeOwnership,
} from '../../../test/helpers/served-appliance.ts';
import { summary } from './times.ts';

interface Answer {
  status: number;
  ms: number;
}

export async function measureFlood(
  { seconds, guessers }: { seconds: number; guessers: number },
  say: (text: string) => void,
): Promise<void> {
  const folder = await makeFolder('flood');
  const appliance = await serveAppliance({ dataDir: `${folder}/data` });
  try {
    await takeOwnership(appliance);
    const port = Number(new URL(appliance.url).port);
    const cookie = appliance.cookie();
    const others = () => askBeside(port, cookie, seconds);
    say(`nothing beside it          ${describe(await others())}`);
    for (const [what, addresses] of [['one address', 1] as const, ['two hundred addresses', 200] as const]) {
      const flood = startFlood(port, guessers, addresses);
      const beside = await others();
      const owner = await signIn(port, '127.0.0.1', OWNER.email, OWNER.password);
      const answers = await flood.stop();
      const looked = answers.filter(({ status }) => status === 401);
      say(`flood from ${what}: ${answers.length} attempts in ${seconds} s, ${looked.length} looked at`);
      say(`  others                   ${describe(beside)}`);
      say(`  looked at                ${summary(looked.map(({ ms }) => ms))}`);
      say(`  the owner from elsewhere ${owner.status} after ${Math.round(owner.ms)} ms`);
    }
  } finally {
    await appliance.stop();
    await removeFolder(folder);
  }
}

/** Small reads of somebody who is signed in, one after the other. */
async function askBeside(port: number, cookie: string, seconds: number): Promise<Answer[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const answers: Answer[] = [];
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    answers.push(await ask(port, { agent, path: '/api/v1/workspaces', from: '127.0.0.1', cookie }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  agent.destroy();
  return answers;
}

function startFlood(port: number, guessers: number, addresses: number): { stop(): Promise<Answer[]> } {
  const state = { over: false, next: 0 };
  const answers: Answer[] = [];
  const guess = async (agents: Map<string, Agent>) => {
    while (!state.over) {
      const turn = state.next++;
      const from = `127.1.0.${(turn % addresses) + 1}`;
      const agent = agents.get(from) ?? new Agent({ keepAlive: true, maxSockets: 2 });
      agents.set(from, agent);
      // An account of its own each time: nothing slows it down but what protects all.
      const answer = await signIn(port, from, `nobody-${turn}@example.org`, 'a guess that is wrong', agent);
      answers.push(answer);
    }
    for (const agent of agents.values()) agent.destroy();
  };
  const work = Promise.all(Array.from({ length: guessers }, () => guess(new Map())));
  return {
    stop: async () => {
      state.over = true;
      await work;
      return answers;
    },
  };
}

function signIn(port: number, from: string, email: string, password: string, agent?: Agent): Promise<Answer> {
  const asked = { method: 'POST', path: '/api/v1/session', from, body: JSON.stringify({ email, password }) };
  return ask(port, { ...asked, ...(agent === undefined ? {} : { agent }) });
}

async function ask(
  port: number,
  asked: { method?: string; path: string; from: string; body?: string; cookie?: string; agent?: Agent },
): Promise<Answer> {
  const { method = 'GET', path, from, body, cookie, agent } = asked;
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: '127.0.0.1', port, localAddress: from, method, path, rejectUnauthorized: false },
        ...(agent === undefined ? { agent: false as const } : { agent }),
        headers: {
          'x-holdfast': '1',
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          ...(cookie === undefined ? {} : { cookie }),
        },
      },
      (reply) => {
        reply.resume().on('error', reject);
        reply.on('end', () => resolve({ status: reply.statusCode ?? 0, ms: performance.now() - start }));
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function describe(answers: readonly Answer[]): string {
  const refused = answers.filter(({ status }) => status !== 200).length;
  return `${summary(answers.map(({ ms }) => ms))}${refused === 0 ? '' : `, ${refused} refused`}`;
}
