/* global localStorage, document */
// Before the first paint, so that a page chosen dark never flashes light.
try {
  const theme = localStorage.getItem('holdfast.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's choice holds.
}
