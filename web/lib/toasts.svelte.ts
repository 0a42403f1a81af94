/** Short notices of what was done. Failures stay until they are dismissed. */
export interface Toast {
  id: number;
  tone: 'ok' | 'bad' | 'info';
  message: string;
  hint?: string | undefined;
  href?: string | undefined;
  linkText?: string | undefined;
}

let list = $state.raw<readonly Toast[]>([]);
let next = 1;
const SHOWN_MS = 6_000;

export const toasts = {
  get list(): readonly Toast[] {
    return list;
  },
  add(toast: Omit<Toast, 'id'>): void {
    const id = next++;
    list = [...list.slice(-4), { ...toast, id }];
    if (toast.tone !== 'bad') setTimeout(() => toasts.dismiss(id), SHOWN_MS);
  },
  dismiss(id: number): void {
    list = list.filter((toast) => toast.id !== id);
  },
};
