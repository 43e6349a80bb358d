// otlp: logs as OpenTelemetry's exporters send them: `POST /v1/logs` in JSON. A record has a body
// that is text as `message`, any other as `body`, its attributes as members, and those of its
// resource and scope as `resource.NAME` and `scope.NAME`.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
#pragma once

#include "decoded_body.hpp"

#include <string>
#include <string_view>

namespace sapwood::collector {

/// `{"resourceLogs":[{"resource":{},"scopeLogs":[{"scope":{},"logRecords":[{"body":{}}]}]}]}`
/// A log record that is wrong is refused by itself, unless all of them are: `reply` is the answer
/// then, which says how many, and why the first; otherwise it stays as it is.
void decode_otlp(std::string_view body, decoded_body& to, std::string& reply);

} // namespace sapwood::collector
