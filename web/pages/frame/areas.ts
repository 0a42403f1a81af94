/** The areas of the console in their order, and who sees them. */
import Camera from '@lucide/svelte/icons/camera';
import Folder from '@lucide/svelte/icons/folder';
import HardDrive from '@lucide/svelte/icons/hard-drive';
import KeyRound from '@lucide/svelte/icons/key-round';
import LayoutDashboard from '@lucide/svelte/icons/layout-dashboard';
import ScrollText from '@lucide/svelte/icons/scroll-text';
import Server from '@lucide/svelte/icons/server';
import Settings from '@lucide/svelte/icons/settings';
import ShieldCheck from '@lucide/svelte/icons/shield-check';
import { paths } from '../../routes.ts';

interface Area {
  label: string;
  href: string;
  icon: typeof Camera;
  everyone?: boolean;
  /** Only where Holdfast runs on its own machine image. */
  machine?: boolean;
}

export const areas: readonly { group: string; areas: readonly Area[] }[] = [
  { group: '', areas: [{ label: 'Overview', href: paths.overview(), icon: LayoutDashboard }] },
  { group: 'Data', areas: [{ label: 'Files', href: paths.files(), icon: Folder, everyone: true }] },
  {
    group: 'Protection',
    areas: [
      { label: 'Snapshots', href: paths.snapshots(), icon: Camera },
      { label: 'Restore tests', href: paths.restoreTests(), icon: ShieldCheck },
      { label: 'Targets', href: paths.targets(), icon: HardDrive },
    ],
  },
  {
    group: 'Trust',
    areas: [
      { label: 'Keys', href: paths.keys(), icon: KeyRound },
      { label: 'Audit', href: paths.audit(), icon: ScrollText },
    ],
  },
  {
    group: 'System',
    areas: [
      { label: 'Appliance', href: paths.machine(), icon: Server, machine: true },
      { label: 'Settings', href: paths.settings(), icon: Settings },
    ],
  },
];

/** Whether somebody sees an area. */
export function sees(area: Area, who: { operations: boolean; machine: boolean }): boolean {
  return (area.everyone === true || who.operations) && (area.machine !== true || who.machine);
}

/** Whether an address lies in an area. */
export function within(path: string, href: string): boolean {
  return href === '/' ? path === '/' : path === href || path.startsWith(`${href}/`);
}
