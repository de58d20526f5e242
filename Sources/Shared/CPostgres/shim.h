#pragma once
#include <libpq-fe.h>

// The names of an error's fields are character constants, which Swift does not import.
static const int kiln_pg_diag_sqlstate = PG_DIAG_SQLSTATE;
static const int kiln_pg_diag_message_primary = PG_DIAG_MESSAGE_PRIMARY;
static const int kiln_pg_diag_context = PG_DIAG_CONTEXT;
