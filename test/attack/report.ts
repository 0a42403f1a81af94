/** REPORT.md: what was tried and what came of it, for people who were not there. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ATTACKERS, type Attacker } from './tools.ts';
import type { Outcome } from './verdict.ts';
import type { Proof } from './weaknesses.ts';

/** In this order. sqlmap is last, because its requests as the owner change things. */
export const ATTACKS = ['testssl', 'ffuf', 'hydra', 'slowhttptest', 'sqlmap'] as const;
export type AttackName = (typeof ATTACKS)[number];

/** What one tool did. */
export interface Section {
  /** The day. */
  at: string;
  seconds: number;
  proofs: Proof[];
  outcomes: Outcome[];
}

/** What is wrong: in the appliance, or with the judge. */
export function findingsOf({ proofs, outcomes }: Section): string[] {
  const missed = proofs.filter(({ said }) => said === null);
  return [
    ...missed.map(({ weakness }) => `not found, though it is there: ${weakness}`),
    ...outcomes.flatMap(({ findings }) => findings),
  ];
}

/** @param made by tool; one that is missing was not run, and the report says so. */
export function writeReport(
  versions: Record<Attacker, string>,
  made: Partial<Record<AttackName, Section>>,
): string {
  const sections = ATTACKS.flatMap((name) => made[name] ?? []);
  const missing = ATTACKS.filter((name) => made[name] === undefined);
  const found = sections.flatMap(findingsOf).length;
  const tools = Object.entries(versions).map(
    ([name, version]) => `${ATTACKERS[name as Attacker].package} ${version}`,
  );
  return [
    '# Attacks',
    '',
    'Written by `npm run test:attack`, which starts a whole appliance and lets these tools at it. Names, passwords, cookies and ports are',
    'left out of the commands. Beforehand each judge is shown something that is weak on purpose, which it must find.',
    '',
    `${tools.join(', ')}; ${systemName()}, ${availableParallelism()} cores.`,
    '',
    `**${found === 0 ? 'Nothing was found.' : `${found} findings.`}${missing.length === 0 ? '' : ` Not run yet: ${missing.join(', ')}.`}**`,
    '',
    '| weak on purpose | what the judge said of it |',
    '|---|---|',
    ...sections.flatMap(({ proofs }) =>
      proofs.map(({ weakness, said }) => `| ${weakness} | ${said === null ? '**nothing**' : cell(said)} |`),
    ),
    ...sections.flatMap(({ outcomes, at, seconds }) => outcomes.flatMap((one) => write(one, at, seconds))),
    '',
  ].join('\n');
}

function write({ name, commands, tried, findings }: Outcome, at: string, seconds: number): string[] {
  return [
    ...['', `## ${name}`, '', '```sh', ...commands, '```', ''],
    ...tried.map((line) => `- ${line}`),
    ...[
      '',
      `${at}, ${seconds} s. ${findings.length === 0 ? 'Nothing was found.' : `**${findings.length} findings:**`}`,
    ],
    ...(findings.length === 0 ? [] : ['', ...findings.map((finding) => `- ${finding}`)]),
  ];
}

function systemName(): string {
  const text = readFileSync('/etc/os-release', 'utf8');
  return /PRETTY_NAME="([^"]+)"/.exec(text)?.[1] ?? 'Linux';
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').slice(0, 200);
}
