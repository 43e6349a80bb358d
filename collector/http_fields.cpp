#include "http_fields.hpp"

#include <algorithm>

namespace sapwood::collector {

bool is_named(std::string_view text, std::string_view name) noexcept {
    return std::ranges::equal(text, name, [](char one, char other) {
        return (one >= 'A' && one <= 'Z' ? static_cast<char>(one + ('a' - 'A')) : one) == other;
    });
}

media_type media_type_of(std::string_view text) noexcept {
    text = text.substr(0, text.find(';'));
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
        text.remove_suffix(1);
    }

    struct known {
        std::string_view name;
        media_type type;
    };

    static constexpr known all[] = {
        {"application/json", media_type::json},
        {"application/x-www-form-urlencoded", media_type::form},
        {"application/x-ndjson", media_type::ndjson},
        {"application/ndjson", media_type::ndjson},
        {"application/jsonl", media_type::ndjson},
        {"application/x-jsonlines", media_type::ndjson},
        {"application/json-lines", media_type::ndjson},
        {"application/vnd.elasticsearch+json", media_type::json},
        {"application/vnd.elasticsearch+x-ndjson", media_type::ndjson},
        {"application/x-protobuf", media_type::protobuf},
        {"text/plain", media_type::text},
        {"text/json", media_type::json},
    };
    for (const known& each : all) {
        if (is_named(text, each.name)) {
            return each.type;
        }
    }
    return text.empty() ? media_type::none : media_type::other;
}

content_coding coding_of(std::string_view text) noexcept {
    if (text.empty() || is_named(text, "identity")) {
        return content_coding::identity;
    }
    if (is_named(text, "gzip") || is_named(text, "x-gzip")) {
        return content_coding::gzip;
    }
    return is_named(text, "zstd") ? content_coding::zstd : content_coding::other;
}

std::string_view without_authority(std::string_view target) noexcept {
    constexpr std::string_view scheme = "http://";
    if (!target.starts_with(scheme)) {
        return target;
    }
    const auto path = target.find('/', scheme.size());
    return path == target.npos ? std::string_view("/") : target.substr(path);
}

} // namespace sapwood::collector
