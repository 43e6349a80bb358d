// The lookup of a name by the system, which blocks, and what needs none. Any thread.
#pragma once

#include <sapwood/resolve.hpp>

#include <optional>

namespace sapwood::detail {

/// The endpoint where host and service are both numbers and of the family; otherwise nothing.
/// Throws where they are numbers of the other family.
[[nodiscard]] std::optional<endpoint> numeric_endpoint(const name_query& query);

/// getaddrinfo. Throws std::system_error as resolver::resolve does.
[[nodiscard]] std::vector<endpoint> look_up(const name_query& query);

} // namespace sapwood::detail
