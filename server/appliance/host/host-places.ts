/** Where the machine image keeps what belongs to the machine and not to the data volume. A test puts all of it below a folder. */
import { join } from 'node:path';

export interface HostPlaces {
  /** Small and unencrypted; survives a restart. No customer data, no secret that opens anything by itself. */
  state: string;
  /** In memory only; gone with the power. */
  run: string;
  /** Where the data volume is mounted. */
  data: string;
  /** What the image build says about itself. */
  imageFile: string;
  /** What cloud-init leaves: `/run/cloud-init` and `/var/lib/cloud/instance`, both in memory on the image. */
  cloudRun: string;
  cloudInstance: string;
  /** Of systemd-networkd; in memory on the image, and made anew at every start. */
  networkFiles: string;
}

/** The places of the machine image; below `root` in a test. */
export function hostPlaces(root = '/'): HostPlaces {
  return {
    state: join(root, 'state'),
    run: join(root, 'run', 'holdfast'),
    data: join(root, 'data'),
    imageFile: join(root, 'etc', 'holdfast', 'image.json'),
    cloudRun: join(root, 'run', 'cloud-init'),
    cloudInstance: join(root, 'var', 'lib', 'cloud', 'instance'),
    networkFiles: join(root, 'etc', 'systemd', 'network'),
  };
}

/** The unix socket of hostd, where nothing else is set. */
export const HOST_SOCKET = '/run/holdfast/host.sock';
