/**
 * What a machine needs besides its data, of the scope `system`: the sections `appliance` and `system` of a snapshot, every file of them read
 * back by its hash, and read by the same shapes as whoever reads it at a recovery.
 */
import { createHash } from 'node:crypto';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { decodeLines, fitOf, SYSTEM_SECTION, whyExpired, type FileEntry } from '../../backups/index.ts';
import { messageOf } from '../../lib/errors.ts';
import { listMigrations } from '../../lib/migrate.ts';
import { SOFTWARE_VERSION } from '../../lib/version.ts';
import { need, type Check, type Scene } from '../scene.ts';

/** As `copyApplianceFacts` writes it. */
const ApplianceFile = Type.Object({
  applianceId: Type.String({ format: 'uuid' }),
  softwareVersion: Type.String({ minLength: 1 }),
  name: Type.Union([Type.String(), Type.Null()]),
  stage: Type.Union([Type.String(), Type.Null()]),
  region: Type.Union([Type.String(), Type.Null()]),
  allowedRegions: Type.Union([Type.Array(Type.String()), Type.Null()]),
});
const Folder = Type.Object({
  id: Type.String({ format: 'uuid' }),
  workspaceId: Type.String(),
  parentId: Type.Union([Type.String(), Type.Null()]),
  nameSealed: Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$' }),
});
const Node = Type.Object({
  ...Folder.properties,
  parentId: Type.String(),
  kind: Type.Union([Type.Literal('folder'), Type.Literal('file')]),
});
const Workspace = Type.Object({ id: Type.String(), rootFolderId: Type.String(), nameSealed: Type.String() });

/** Everything but the image, whose bytes are only hashed. The header of a volume has 16 MiB. */
const MOST_BYTES = 32 * 1024 * 1024;
const MAX_LISTED = 10;

export const applianceContentCheck: Check = {
  id: 'appliance-content',
  label: "The appliance's facts, workspaces and folders read as a recovery reads them",
  async run(scene) {
    const wrong: string[] = [];
    const counts = { workspaces: 0, folders: 0, nodes: 0 };
    const region = { own: '', isAllowed: true };
    let version = '';
    const reader = need(scene.reader, 'the repository');
    for await (const entry of reader.listEntries(need(scene.factsSection, 'the snapshot'))) {
      const path = entry.path ?? '';
      if (entry.type !== 'file') continue;
      try {
        for await (const line of decodeLines<object>(reader.readFile(entry))) {
          scene.signal.throwIfAborted();
          if (path === 'appliance.json') {
            if (!Value.Check(ApplianceFile, line)) throw new Error('not the shape of facts');
            version = line.softwareVersion;
            region.own = line.region ?? '';
            region.isAllowed =
              line.region === null ||
              line.allowedRegions === null ||
              line.allowedRegions.includes(line.region);
          } else {
            const kind =
              path === 'workspaces.jsonl' ? 'workspaces' : path === 'folders.jsonl' ? 'folders' : 'nodes';
            if (!Value.Check({ workspaces: Workspace, folders: Folder, nodes: Node }[kind], line))
              throw new Error('a line is not in the shape that is read');
            counts[kind] += 1;
          }
        }
      } catch (error) {
        if (scene.signal.aborted) throw error;
        wrong.push(`${path}: ${messageOf(error)}`);
      }
    }
    if (version === '' && wrong.length === 0) wrong.push('appliance.json is missing');
    if (!region.isAllowed) wrong.push(`its region ${region.own} is none of those that it allows`);
    scene.writtenBy = version;
    return {
      passed: wrong.length === 0,
      expected: 'every line in the shape that this version reads, in a region that it allows',
      found: [
        `${counts.workspaces} workspaces, ${counts.folders} folders, ${counts.nodes} files and folders; region ${region.own === '' ? 'not said' : region.own}`,
        ...wrong.slice(0, MAX_LISTED),
      ].join('; '),
    };
  },
};

export const versionCheck: Check = {
  id: 'version',
  label: 'This version of Holdfast goes on with what wrote it',
  async run(scene) {
    const fit = fitOf(need(scene.snapshot, 'the snapshot'), await listMigrations());
    const wroteIt = scene.writtenBy === undefined || scene.writtenBy === '' ? 'not said' : scene.writtenBy;
    return {
      passed: fit?.starts !== false,
      expected: `a schema that version ${SOFTWARE_VERSION} goes on with`,
      found: `written by version ${wroteIt}; ${fit?.words ?? 'the snapshot has no database any more, so its schema is not said'}`,
    };
  },
};

export const systemFilesCheck: Check = {
  id: 'system-files',
  label: "The machine's own files decrypt and have their hashes",
  async run(scene) {
    const section = systemSection(scene);
    if (section === undefined) return tellNone(scene);
    const reader = need(scene.reader, 'the repository');
    const { signal, clock } = scene;
    const progress = ({ bytesDone }: { bytesDone: number }) => {
      scene.progress(bytesDone, section.sizeBytes);
    };
    const report = await reader.checkSection(section, { signal, clock, progress });
    return {
      passed: report.problemCount === 0 && report.files === section.fileCount,
      expected: `${section.fileCount} files, ${section.sizeBytes} bytes`,
      found: `${report.files} files, ${report.bytes} bytes read and hashed; problems: ${report.problemCount}`,
    };
  },
};

export const systemContentCheck: Check = {
  id: 'system-content',
  label: "The machine's configuration reads as the machine reads it, and its image is the one that it names",
  async run(scene) {
    const section = systemSection(scene);
    if (section === undefined) return tellNone(scene);
    const reader = need(scene.reader, 'the repository');
    const { read } = need(scene.machine, 'what reads the files of a machine');
    const files = new Map<string, Buffer>();
    const large = new Map<string, FileEntry>();
    for await (const entry of reader.listEntries(section)) {
      if (entry.type !== 'file' || entry.path === undefined) continue;
      const isImage = entry.path.startsWith('image/') && !entry.path.endsWith('.sha256');
      if (isImage || (entry.size ?? 0) > MOST_BYTES) large.set(entry.path, entry);
      else files.set(entry.path, Buffer.concat(await Array.fromAsync(reader.readFile(entry))));
    }
    const { there, missing, wrong, image } = read(files);
    if (image !== undefined) {
      const entry = large.get(image.path);
      const sha256 = entry === undefined ? undefined : await hashOf(scene, entry);
      if (sha256 === image.sha256) there.push(`the image whole, SHA-256 ${sha256.slice(0, 16)}…`);
      else wrong.push(`${image.path}: ${sha256 === undefined ? 'is missing' : 'other bytes than it names'}`);
    } else if (scene.machine?.isOurs === true) {
      wrong.push('nothing says which image belongs to it');
    }
    return {
      passed: wrong.length === 0,
      expected: 'every configuration in the shape that this version takes, and the image that it names',
      found: [
        ...wrong.slice(0, MAX_LISTED).map((one) => `wrong: ${one}`),
        `there: ${there.join(', ') || 'nothing'}`,
        `not there: ${missing.join('; ')}`,
      ].join('. '),
    };
  },
};

async function hashOf(scene: Scene, entry: FileEntry): Promise<string> {
  const hash = createHash('sha256');
  let done = 0;
  for await (const part of need(scene.reader, 'the repository').readFile(entry)) {
    scene.signal.throwIfAborted();
    hash.update(part);
    done += part.length;
    scene.progress(done, entry.size ?? done);
  }
  return hash.digest('hex');
}

function systemSection(scene: Scene) {
  return need(scene.snapshot, 'the snapshot').sections.find(({ name }) => name === SYSTEM_SECTION);
}

/** An embedded install has none, which is right; a machine of ours has. */
function tellNone(scene: Scene) {
  const why = whyExpired(need(scene.snapshot, 'the snapshot'), SYSTEM_SECTION);
  const expected = 'on a machine image, the section `system`';
  if (why !== undefined) return { passed: false, expected, found: `not there: ${why.message}` };
  const isMachine = scene.machine?.isOurs === true;
  return {
    passed: !isMachine,
    expected,
    found: isMachine
      ? 'not there: this machine had not gathered its facts when the snapshot was taken'
      : 'not there: the snapshot is not of a machine image, and the machine below it is not Holdfast’s to keep',
  };
}
