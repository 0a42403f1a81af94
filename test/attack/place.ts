/**
 * The appliance that is attacked: a whole one, as a customer runs it, claimed, with a person of each role, workspaces, files and an API
 * key. Its certificate comes from an authority made for the run, as one inside a company would be.
 */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { dataPaths } from '../../server/lib/data-folder.ts';
import type { LoggedRequest } from '../../server/identity/request-log/schema.ts';
import { parseLine } from '../../server/identity/request-log/search-log.ts';
import { runProcess } from '../../server/lib/spawn.ts';
import {
  callerOf,
  claimAppliance,
  expectStatus,
  OWNER,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { networkPart } from './relay.ts';

export type RoleName = 'owner' | 'admin' | 'auditor' | 'member';

export interface Place {
  appliance: ServedAppliance;
  /** Under which programs reach it; the certificate is for this name. */
  url: string;
  port: number;
  certificates: Certificates;
  /** For what the tools leave behind. */
  folder: string;
  people: Record<RoleName, { email: string; password: string }>;
  /** Of things that are there, by the first part of the address of their routes. */
  ids: Record<string, string>;
  apiKey: string;
  /** Signs in anew. @returns the cookie. */
  cookieOf(role: RoleName): Promise<string>;
  /** What was answered to an address, or to all that begin so (`127.0.4.`), by the appliance's own log of requests. */
  answersTo(address: string): Promise<LoggedRequest[]>;
  stop(): Promise<void>;
}

export interface Certificates {
  authorityFile: string;
  certificateFile: string;
  keyFile: string;
}

/** @param folder empty, and removed by the caller. */
export async function preparePlace(folder: string): Promise<Place> {
  const certificates = await makeCertificates(folder);
  const appliance = await serveAppliance({
    dataDir: join(folder, 'data'),
    env: {
      HOLDFAST_TLS_CERT: certificates.certificateFile,
      HOLDFAST_TLS_KEY: certificates.keyFile,
      HOLDFAST_LOG: 'warn',
    },
  });
  const port = Number(new URL(appliance.url).port);
  await claimAppliance(appliance);
  const sessions = { proofMinutes: 60 };
  const settings = await expectStatus(appliance.call('GET', '/settings/sessions'), 200);
  await expectStatus(appliance.call('PUT', '/settings/sessions', { ...settings, ...sessions }), 200);
  const people = { owner: OWNER, ...(await invitePeople(appliance)) };
  return {
    ...{ appliance, certificates, folder, people, port, url: `https://localhost:${port}` },
    ...(await fill(appliance)),
    cookieOf: async (role) => {
      const caller = callerOf(appliance.url);
      await signIn(caller, people[role]);
      // A cookie that was taken away again is there without a value.
      return caller
        .cookie()
        .split('; ')
        .filter((one) => !one.endsWith('='))
        .join('; ');
    },
    answersTo: (address) => readAnswers(dataPaths(appliance.dataDir).requestLog, address),
    stop: async () => {
      await appliance.stop();
    },
  };
}

async function invitePeople(appliance: ServedAppliance): Promise<Omit<Place['people'], 'owner'>> {
  const people: Partial<Place['people']> = {};
  for (const role of ['admin', 'auditor', 'member'] as const) {
    const person = { email: `${role}@example.org`, password: `a ${role} walks 3 dogs at noon` };
    const invited = appliance.call<{ link?: string }>('POST', '/invitations', { email: person.email, role });
    const token = (await expectStatus(invited, 201)).link?.split('#')[1]?.replace(/^.*=/, '') ?? '';
    const accepted = { token, name: `One ${role}`, password: person.password };
    await expectStatus(callerOf(appliance.url).call('POST', '/invitations/accept', accepted), 201);
    people[role] = person;
  }
  return people as Place['people'];
}

/** Workspaces, files, a team and a key: routes answer with something. */
async function fill(appliance: ServedAppliance): Promise<Pick<Place, 'ids' | 'apiKey'>> {
  type Created = { id: string; rootFolderId: string };
  type List = { items: { id: string; role?: string; rootFolderId?: string }[] };
  const list = await expectStatus(appliance.call<List>('GET', '/workspaces'), 200);
  const first = list.items[0] as Created;
  const { user } = await expectStatus(appliance.call<{ user: { id: string } }>('GET', '/session'), 200);
  const second = { name: 'Second', managerId: user.id };
  await expectStatus(appliance.call<Created>('POST', '/workspaces', second), 201);
  const path = `/folders/${first.rootFolderId}/files?name=`;
  const file = await expectStatus(
    appliance.call<Created>('PUT', `${path}letter.txt`, Buffer.from('Dear reader')),
    201,
  );
  await expectStatus(appliance.call('PUT', `${path}picture.bin`, Buffer.alloc(300_000, 7)), 201);
  const team = await expectStatus(appliance.call<Created>('POST', '/teams', { name: 'Readers' }), 201);
  const people = await expectStatus(appliance.call<List>('GET', '/people'), 200);
  const member = people.items.find(({ role }) => role === 'member');
  const key = { name: 'attack', workspaceId: first.id, rights: ['files.read', 'files.write'] };
  const made = await expectStatus(appliance.call<{ token: string }>('POST', '/api-keys', key), 201);
  return {
    apiKey: made.token,
    ids: {
      ...{ workspaces: first.id, folders: first.rootFolderId, nodes: file.id, files: file.id },
      ...{ teams: team.id, people: member?.id ?? '' },
    },
  };
}

/** An authority, and a certificate of it for this machine that names a list of revoked ones as authorities do. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  await mkdir(folder, { recursive: true });
  const [authority, leaf] = [join(folder, 'authority'), join(folder, 'server')];
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256'];
  await openssl(folder, [
    ...['req', '-x509', ...fresh, '-keyout', `${authority}.key`, '-out', `${authority}.pem`, '-days', '300'],
    ...['-subj', '/O=Holdfast/CN=Authority of one run', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
  ]);
  await openssl(folder, [
    ...['req', '-x509', ...fresh, '-keyout', `${leaf}.key`, '-out', `${leaf}.pem`, '-days', '90'],
    ...['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-subj', '/O=Holdfast/CN=localhost'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'keyUsage=critical,digitalSignature'],
    ...['-addext', 'extendedKeyUsage=serverAuth', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-addext', 'crlDistributionPoints=URI:http://authority.invalid/revoked.crl'],
  ]);
  const chain = join(folder, 'authority.pem');
  return { authorityFile: chain, certificateFile: `${leaf}.pem`, keyFile: `${leaf}.key` };
}

async function openssl(cwd: string, args: string[]): Promise<void> {
  const { exitCode, stderr } = await runProcess('openssl', args, { cwd, timeoutMs: 30_000 });
  if (exitCode !== 0) throw new Error(`openssl ${args[0] ?? ''} failed: ${stderr}`);
}

/** Of the log's files, because a search by the API would itself be in it. */
async function readAnswers(folder: string, address: string): Promise<LoggedRequest[]> {
  // The log is written twice a second.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const answers: LoggedRequest[] = [];
  for (const name of await readdir(folder)) {
    const content = await readFile(join(folder, name));
    const text = (name.endsWith('.zst') ? zstdDecompressSync(content) : content).toString('utf8');
    for (const line of text.split('\n')) {
      if (!line.includes(address)) continue;
      const answer = parseLine(line);
      if (answer !== undefined && networkPart(answer.address ?? '', address)) answers.push(answer);
    }
  }
  return answers;
}
