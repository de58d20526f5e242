# FROM {base} stands for the manifest's base image, pinned by its digest.
FROM {base}

LABEL org.opencontainers.image.vendor="Kiln samples"

# A fragment replaces everything between its marker and the marker's end.
#--MODULE:security--#
#--ENDMODULE--#

#--MODULE:core--#
#--ENDMODULE--#

# This one may be left out of a manifest.
#--MODULE?:light--#
#--ENDMODULE--#

#--MODULE:app--#
#--ENDMODULE--#

STOPSIGNAL SIGTERM
