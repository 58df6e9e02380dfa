#!/usr/bin/env node
import { runCfsctl } from './program.js';

process.exitCode = runCfsctl(process.argv.slice(2));
