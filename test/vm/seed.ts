/** A NoCloud disc: what a hypervisor hands to a machine at its first start. JSON is YAML. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { macOf, must } from './machine.ts';

export interface SeedOptions {
  folder: string;
  /** Names the instance: another one is another first start. */
  id: string;
  tap: string;
  /** With its prefix length. */
  address: string;
  gateway: string;
  /** The section `holdfast`. */
  holdfast?: object;
}

export async function makeSeed(options: SeedOptions): Promise<string> {
  const content = join(options.folder, `seed-${options.id}`);
  mkdirSync(content, { recursive: true });
  writeFileSync(
    join(content, 'meta-data'),
    JSON.stringify({ 'instance-id': options.id, 'local-hostname': options.id }),
  );
  const userData = options.holdfast === undefined ? {} : { holdfast: options.holdfast };
  writeFileSync(join(content, 'user-data'), `#cloud-config\n${JSON.stringify(userData)}\n`);
  writeFileSync(
    join(content, 'network-config'),
    JSON.stringify({
      version: 2,
      ethernets: {
        net0: {
          match: { macaddress: macOf(options.tap) },
          addresses: [options.address],
          routes: [{ to: '0.0.0.0/0', via: options.gateway }],
        },
      },
    }),
  );
  const iso = join(options.folder, `seed-${options.id}.iso`);
  rmSync(iso, { force: true });
  await must('xorriso', ['-as', 'mkisofs', '-quiet', '-V', 'cidata', '-J', '-R', '-o', iso, content]);
  return iso;
}
