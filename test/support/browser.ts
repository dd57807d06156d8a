/** The browser that tests open pages in, if there is one. */
import { existsSync } from 'node:fs';

export const browsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
export const executablePath = browsers.find((path) => existsSync(path));
