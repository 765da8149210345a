"""Amazon Bedrock's model customization by AWS's official SDK, for Nova and Llama."""
