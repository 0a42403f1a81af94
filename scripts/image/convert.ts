/** The disk in the forms that platforms take. */
import { createReadStream, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { run } from './command.ts';
import { DISK_BYTES } from './layout.ts';

export const FORMATS = ['qcow2', 'raw', 'vmdk', 'ova', 'vhd'] as const;
export type Format = (typeof FORMATS)[number];

/** Writes the disk in one format. Returns the files made. */
export async function convertDisk(raw: string, format: Format, base: string): Promise<string> {
  const output = `${base}.${format === 'raw' ? 'raw.zst' : format}`;
  rmSync(output, { force: true });
  switch (format) {
    case 'qcow2':
      await run('qemu-img', [
        'convert',
        '-f',
        'raw',
        '-O',
        'qcow2',
        '-c',
        '-o',
        'compression_type=zstd',
        '-W',
        '-m',
        '4',
        raw,
        output,
      ]);
      return output;
    case 'raw':
      await run('zstd', ['-q', '-f', '-9', '-T0', raw, '-o', output]);
      return output;
    case 'vmdk':
      await run('qemu-img', [
        'convert',
        '-f',
        'raw',
        '-O',
        'vmdk',
        '-o',
        'subformat=streamOptimized',
        raw,
        output,
      ]);
      return output;
    case 'vhd':
      // Azure takes fixed disks of whole mebibytes only.
      await run('qemu-img', [
        'convert',
        '-f',
        'raw',
        '-O',
        'vpc',
        '-o',
        'subformat=fixed,force_size',
        raw,
        output,
      ]);
      return output;
    case 'ova':
      return makeOva(raw, base);
  }
}

/** A VMware package: description, hashes, disk, in this order in one tar. */
async function makeOva(raw: string, base: string): Promise<string> {
  const name = base.slice(base.lastIndexOf('/') + 1);
  const folder = base.slice(0, base.lastIndexOf('/'));
  const disk = await convertDisk(raw, 'vmdk', `${base}-disk1`);
  const file = `${name}-disk1.vmdk`;
  writeFileSync(join(folder, `${name}.ovf`), ovf(name, file, statSync(disk).size));
  const hashes = await Promise.all(
    [`${name}.ovf`, file].map(async (entry) => `SHA256(${entry})= ${await sha256(join(folder, entry))}\n`),
  );
  writeFileSync(join(folder, `${name}.mf`), hashes.join(''));
  await run('tar', ['-C', folder, '--format=ustar', '-cf', `${base}.ova`, `${name}.ovf`, `${name}.mf`, file]);
  for (const entry of [`${name}.ovf`, `${name}.mf`, file]) rmSync(join(folder, entry));
  return `${base}.ova`;
}

function ovf(name: string, file: string, bytes: number): string {
  const item = (id: number, type: number, text: string, more = '') =>
    `<Item><rasd:ElementName>${text}</rasd:ElementName><rasd:InstanceID>${id}</rasd:InstanceID>${more}<rasd:ResourceType>${type}</rasd:ResourceType></Item>`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
<References><File ovf:id="file1" ovf:href="${file}" ovf:size="${bytes}"/></References>
<DiskSection><Info>Disks: the system, and an empty one for the encrypted data</Info>
<Disk ovf:diskId="system" ovf:fileRef="file1" ovf:capacity="${DISK_BYTES}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
<Disk ovf:diskId="data" ovf:capacity="${64 * 1024 ** 3}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
<NetworkSection><Info>Networks</Info><Network ovf:name="VM Network"><Description>Where people reach Holdfast</Description></Network></NetworkSection>
<VirtualSystem ovf:id="${name}"><Info>Holdfast</Info><Name>${name}</Name>
<OperatingSystemSection ovf:id="96"><Info>Debian, 64 bit</Info></OperatingSystemSection>
<VirtualHardwareSection><Info>Two processors, 4 GiB</Info>
<System><vssd:ElementName>Virtual Hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-15</vssd:VirtualSystemType></System>
${item(1, 3, '2 processors', '<rasd:VirtualQuantity>2</rasd:VirtualQuantity>')}
${item(2, 4, '4096 MiB', '<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:VirtualQuantity>4096</rasd:VirtualQuantity>')}
${item(3, 6, 'SCSI', '<rasd:Address>0</rasd:Address><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>')}
${item(4, 17, 'System disk', '<rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/system</rasd:HostResource><rasd:Parent>3</rasd:Parent>')}
${item(5, 17, 'Data disk', '<rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/data</rasd:HostResource><rasd:Parent>3</rasd:Parent>')}
${item(6, 10, 'Network', '<rasd:AutomaticAllocation>true</rasd:AutomaticAllocation><rasd:Connection>VM Network</rasd:Connection><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>')}
</VirtualHardwareSection></VirtualSystem></Envelope>
`;
}

/** SHA-256 of a file, hexadecimal. */
export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(file, { highWaterMark: 1024 * 1024 }))
    hash.update(part as Buffer);
  return hash.digest('hex');
}

/** Names and hashes of all results, in the form that `sha256sum --check` reads. */
export async function writeHashes(folder: string, names: string[], output: string): Promise<void> {
  const lines: string[] = [];
  for (const name of names.sort()) lines.push(`${await sha256(join(folder, name))}  ${name}\n`);
  writeFileSync(join(folder, output), lines.join(''));
}
