/** The bill of materials, CycloneDX 1.6: Debian packages, npm packages and Node, each with its exact version. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { NpmPackage } from './application.ts';
import { stableUuid } from './layout.ts';

interface Component {
  type: string;
  name: string;
  version: string;
  purl: string;
  'bom-ref': string;
  licenses?: { license: { name: string } }[];
  hashes?: { alg: string; content: string }[];
}

export interface SbomFacts {
  version: string;
  commit: string;
  epoch: number;
  /** `name version architecture source source-version`, by tabs. */
  packagesFile: string;
  npm: NpmPackage[];
  rootHash: string;
}

export function writeSbom(facts: SbomFacts, output: string): { debian: number; npm: number } {
  const debian = readDebianPackages(facts.packagesFile);
  const npm = facts.npm.map(npmComponent);
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${stableUuid('sbom', facts.version, facts.commit, facts.rootHash)}`,
    version: 1,
    metadata: {
      timestamp: new Date(facts.epoch * 1000).toISOString(),
      component: {
        type: 'operating-system',
        'bom-ref': 'holdfast',
        name: 'holdfast',
        version: facts.version,
        hashes: [{ alg: 'SHA-256', content: facts.rootHash }],
        properties: [
          { name: 'holdfast:git-commit', value: facts.commit },
          { name: 'holdfast:hash-is', value: 'dm-verity root hash of the root file system' },
        ],
      },
    },
    components: [...debian, ...npm],
    dependencies: [
      { ref: 'holdfast', dependsOn: [...debian, ...npm].map((component) => component['bom-ref']) },
    ],
  };
  writeFileSync(output, `${JSON.stringify(bom, null, 1)}\n`);
  return { debian: debian.length, npm: npm.length };
}

function readDebianPackages(file: string): Component[] {
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', version = '', architecture = '', source = '', sourceVersion = ''] = line.split('\t');
      const from = source === name ? '' : `&upstream=${encodeURIComponent(`${source}@${sourceVersion}`)}`;
      const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-13${from}`;
      return { type: 'library', name, version, purl, 'bom-ref': purl };
    });
}

function npmComponent({ name, version, integrity, license }: NpmPackage): Component {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  const hash = /^sha512-(.+)$/.exec(integrity ?? '')?.[1];
  return {
    type: name === 'node' ? 'platform' : 'library',
    name,
    version,
    purl,
    'bom-ref': purl,
    ...(license === undefined ? {} : { licenses: [{ license: { name: license } }] }),
    ...(hash === undefined
      ? {}
      : { hashes: [{ alg: 'SHA-512', content: Buffer.from(hash, 'base64').toString('hex') }] }),
  };
}
