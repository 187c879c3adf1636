<?php
// An API as PHP frameworks read a request, with what they take from headers; says which handler ran, and for whom.

$path = $_SERVER['HTTP_X_ORIGINAL_URL'] ?? $_SERVER['HTTP_X_REWRITE_URL'] ?? $_SERVER['DOCUMENT_URI'];
$path = explode('?', $path)[0];
$mount = $_SERVER['HTTP_X_FORWARDED_PREFIX'] ?? $_SERVER['HTTP_SCRIPT_NAME'] ?? '';
if ($mount !== '' && str_starts_with($path, $mount)) {
    $path = substr($path, strlen($mount));
}

if (preg_match('#^/v1/projects/([^/]+)(/.*)?$#', $path, $found)) {
    [$handler, $environment] = ['resource', $found[1]];
} else {
    [$handler, $environment] = [$path === '/v1/docs' ? 'published' : 'internal', null];
}
header("X-Handled-By: $handler");
header('Content-Type: application/json');
echo json_encode([
    'handler' => $handler,
    'environment' => $environment,
    'method' => strtoupper($_SERVER['HTTP_X_HTTP_METHOD_OVERRIDE'] ?? $_SERVER['REQUEST_METHOD']),
    'mount' => $mount,
    'address' => $_SERVER['HTTP_CLIENT_IP'] ?? $_SERVER['HTTP_X_REAL_IP'] ?? $_SERVER['HTTP_X_FORWARDED_FOR'],
    'scheme' => $_SERVER['HTTP_X_FORWARDED_PROTO'],
    'host' => $_SERVER['HTTP_X_FORWARDED_HOST'],
    'user' => ($_SERVER['REMOTE_USER'] ?? '') ?: $_SERVER['HTTP_REMOTE_USER'] ?? $_SERVER['PHP_AUTH_USER'] ?? null,
    'proxy' => $_SERVER['HTTP_PROXY'] ?? null,
    'key' => $_SERVER['HTTP_X_API_KEY_ID'] ?? null,
]);
