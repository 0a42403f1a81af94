/** The Packer template: every source is complete and every variable is checked, without network and without an account. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPackages } from '../../scripts/image/base.ts';
import { environmentBlock } from '../../scripts/image/disk.ts';
import { DISK_BYTES, PARTITIONS } from '../../scripts/image/layout.ts';
import { runProcess } from '../../server/lib/spawn.ts';
import { tool } from '../helpers/tools.ts';

const packer = join(import.meta.dirname, '..', '..', 'packer');
const SOURCES = [
  'qemu',
  'amazon-ebs',
  'azure-arm',
  'googlecompute',
  'digitalocean',
  'proxmox-clone',
  'vsphere-clone',
];

let work: string;
let variables: string[];

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'holdfast-packer-'));
  const file = (name: string, content = 'x') => {
    writeFileSync(join(work, name), content);
    return join(work, name);
  };
  await runProcess('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(work, 'key')], {
    timeoutMs: 30_000,
  });
  const account = JSON.stringify({
    type: 'service_account',
    private_key: 'x',
    client_email: 'a@b',
    private_key_id: 'x',
  });
  variables = Object.entries({
    version: '1.2.3',
    work,
    base_disk: file('base.qcow2'),
    ssh_key: join(work, 'key'),
    disk_image: file('holdfast.raw.zst'),
    aws_access_key: 'made-up',
    aws_secret_key: 'made-up',
    azure_client_id: 'made-up',
    azure_client_secret: 'made-up',
    azure_tenant_id: 'made-up',
    azure_subscription_id: 'made-up',
    google_account_file: account,
    digitalocean_token: 'made-up',
    proxmox_password: 'made-up',
    vsphere_password: 'made-up',
  }).flatMap(([name, value]) => ['-var', `${name}=${value}`]);
  file('upload.tar');
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

async function validate(...more: string[]) {
  return runProcess(tool('packer').path, ['validate', ...variables, ...more, packer], {
    timeoutMs: 60_000,
    env: {
      ...process.env,
      CHECKPOINT_DISABLE: '1',
      PACKER_CACHE_DIR: join(work, 'cache'),
      PACKER_CONFIG_DIR: work,
    },
  });
}

describe('the template', () => {
  it.each([
    ['version', 'newest', 'looks like 1.2.3'],
    ['disk_gib', '4', 'system disk has 8 to 64 GiB'],
    ['disk_image_sha256', 'abc', '64 hexadecimal digits'],
    ['accelerator', 'fast', 'tcg, kvm or hvf'],
    ['aws_region', 'Frankfurt', 'looks like eu-central-1'],
    ['google_storage_locations', '["a","b"]', 'exactly one location'],
  ])('refuses a wrong %s in words', async (name, value, words) => {
    const result = await validate('-var', `${name}=${value}`);

    expect(result.exitCode).not.toBe(0);
    expect(`${result.stdout}${result.stderr}`.replaceAll('\n', ' ')).toContain(words);
  });

  it('names the source that lacks a credential', async () => {
    const result = await validate('-var', 'digitalocean_token=');

    expect(result.exitCode).not.toBe(0);
    expect(`${result.stdout}${result.stderr}`).toContain('api_token');
  });

  it('passes for all sources with made-up credentials', async () => {
    const result = await validate();

    expect(`${result.stdout}${result.stderr}`).not.toContain('Error');
    expect(result.exitCode).toBe(0);
  });

  it('builds every source that the documents promise', () => {
    const build = readFileSync(join(packer, 'build.pkr.hcl'), 'utf8');

    for (const source of SOURCES) expect(build).toContain(`"source.${source}.holdfast"`);
  });

  it('describes every variable', () => {
    const text = readdirSync(packer)
      .filter((name) => name.endsWith('.pkr.hcl'))
      .map((name) => readFileSync(join(packer, name), 'utf8'))
      .join('\n');
    const blocks = [...text.matchAll(/variable "(\w+)" \{\n(.*?)\n\}/gs)];

    expect(blocks.length).toBeGreaterThan(20);
    expect(blocks.filter(([, , body]) => !body?.includes('description')).map(([, name]) => name)).toEqual([]);
  });

  it('gives a reason for every Debian package', () => {
    for (const list of ['packages.txt', 'packages-build.txt']) {
      const lines = readFileSync(join(packer, list), 'utf8')
        .split('\n')
        .filter((line) => /^[a-z]/.test(line));

      expect(lines.filter((line) => !/^\S+ +\S/.test(line))).toEqual([]);
      expect(readPackages(join(packer, list)).length).toBe(lines.length);
    }
  });

  it('has provisioning scripts that stop at the first failure', async () => {
    const names = readdirSync(join(packer, 'provision')).filter((name) => name.endsWith('.sh'));
    for (const name of names) {
      const path = join(packer, 'provision', name);
      const result = await runProcess('bash', ['-n', path], { timeoutMs: 10_000 });

      expect(result.stderr).toBe('');
      expect(readFileSync(path, 'utf8')).toContain('\nset -euo pipefail\n');
    }
  });
});

describe('the system disk', () => {
  it('has partitions that follow each other and fit', () => {
    let end = 1024 * 1024;
    for (const part of PARTITIONS) {
      expect(part.startBytes).toBe(end);
      end = part.startBytes + part.sizeBytes;
    }

    // A mebibyte for the second partition table.
    expect(end).toBeLessThanOrEqual(DISK_BYTES - 1024 * 1024);
  });

  it('starts with one good slot in an environment that GRUB reads', () => {
    const block = environmentBlock({ ORDER: 'A B', A_OK: '1' });

    expect(block).toHaveLength(1024);
    expect(block).toMatch(/^# GRUB Environment Block\nORDER=A B\nA_OK=1\n#+$/);
  });
});
