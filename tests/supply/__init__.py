"""What the package brings with it: licences, known vulnerabilities, and that nothing else is fetched."""
