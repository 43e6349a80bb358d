// What HTTP calls the statuses that a collector answers with. Any thread.
#pragma once

#include <string_view>

namespace sapwood::collector {

/// `404 Not Found`
[[nodiscard]] constexpr std::string_view status_line(unsigned status) noexcept {
    switch (status) {
    case 200:
        return "200 OK";
    case 202:
        return "202 Accepted";
    case 204:
        return "204 No Content";
    case 400:
        return "400 Bad Request";
    case 401:
        return "401 Unauthorized";
    case 403:
        return "403 Forbidden";
    case 404:
        return "404 Not Found";
    case 405:
        return "405 Method Not Allowed";
    case 408:
        return "408 Request Timeout";
    case 413:
        return "413 Content Too Large";
    case 415:
        return "415 Unsupported Media Type";
    case 417:
        return "417 Expectation Failed";
    case 421:
        return "421 Misdirected Request";
    case 429:
        return "429 Too Many Requests";
    case 431:
        return "431 Request Header Fields Too Large";
    case 501:
        return "501 Not Implemented";
    case 503:
        return "503 Service Unavailable";
    case 505:
        return "505 HTTP Version Not Supported";
    default:
        return "500 Internal Server Error";
    }
}

} // namespace sapwood::collector
