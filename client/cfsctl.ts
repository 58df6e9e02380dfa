#!/usr/bin/env node
import { runCfsctl } from './program.js';

async function main(): Promise<void> {
  process.exitCode = await runCfsctl(process.argv.slice(2));
}

void main();
